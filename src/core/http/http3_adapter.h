// SPDX-License-Identifier: Apache-2.0
// Joins Http3Connection to the version-independent HttpConnection and RequestHandler. One adapter serves
// any number of connections; each has a port that lives until forget(). The owner of a connection MUST
// call forget() before it destroys it.
#pragma once

#include <memory>
#include <unordered_map>

#include "core/http/http_connection.h"

namespace masque {

class Http3Adapter final : public ConnectionHandler {
 public:
  explicit Http3Adapter(RequestHandler& handler);
  ~Http3Adapter() override;

  // The port of a connection, made at its first use.
  HttpConnection& port(Http3Connection& connection);
  void forget(Http3Connection& connection);

  void on_settings(Http3Connection& connection) override;
  void on_request(Http3Connection& connection, StreamId stream, const HeaderFields& fields,
                  bool fin) override;
  void on_response(Http3Connection& connection, StreamId stream, const HeaderFields& fields,
                   bool fin) override;
  void on_stream_data(Http3Connection& connection, StreamId stream, Bytes data) override;
  void on_stream_fin(Http3Connection& connection, StreamId stream) override;
  void on_stream_closed(Http3Connection& connection, StreamId stream, uint64_t error_code) override;
  void on_http_datagram(Http3Connection& connection, StreamId stream, Bytes payload) override;
  void on_goaway(Http3Connection& connection, StreamId first_unprocessed) override;

 private:
  class Port;
  RequestHandler& handler_;
  std::unordered_map<Http3Connection*, std::unique_ptr<Port>> ports_;
  // Packets come in runs from one connection.
  Http3Connection* last_connection_ = nullptr;
  Port* last_port_ = nullptr;
};

}  // namespace masque
