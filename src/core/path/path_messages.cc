// SPDX-License-Identifier: Apache-2.0
#include "core/path/path_messages.h"

#include "base/mutant.h"
#include "core/path/path_packet.h"

namespace masque {

namespace {

constexpr uint64_t kReport = 1;
constexpr uint64_t kRequest = 2;

void write_report(const PathReport& report, ByteWriter& out) {
  out.varint(kReport);
  for (const uint64_t field :
       {report.number, report.received_bytes, report.highest, report.clock_us,
        uint64_t{report.echo_stamp}, report.echo_delay_us, uint64_t{report.delay_min},
        uint64_t{report.delay_max}, report.congestion_marks}) {
    out.varint(field);
  }
  for (const PathReport::PerClass& figures : report.classes) {
    for (const uint64_t field : {figures.settled, figures.lost, figures.loss_events,
                                 figures.recovered, figures.abandoned}) {
      out.varint(field);
    }
  }
}

Result<PathReport> read_report(ByteReader& in) {
  PathReport report;
  uint64_t echo_stamp = 0;
  uint64_t delay_min = 0;
  uint64_t delay_max = 0;
  for (uint64_t* field :
       {&report.number, &report.received_bytes, &report.highest, &report.clock_us, &echo_stamp,
        &report.echo_delay_us, &delay_min, &delay_max, &report.congestion_marks}) {
    TRY(*field, in.varint());
  }
  if ((report.clock_us > PathReport::kClockMax && !mutant("path.report.clock.remove")) ||
      echo_stamp >= PathStamp::kModulus || delay_min >= PathStamp::kModulus ||
      delay_max >= PathStamp::kModulus) {
    return std::unexpected(WireError::BadVarint);
  }
  report.echo_stamp = static_cast<uint32_t>(echo_stamp);
  report.delay_min = static_cast<uint32_t>(delay_min);
  report.delay_max = static_cast<uint32_t>(delay_max);
  for (PathReport::PerClass& figures : report.classes) {
    for (uint64_t* field : {&figures.settled, &figures.lost, &figures.loss_events,
                            &figures.recovered, &figures.abandoned}) {
      TRY(*field, in.varint());
    }
    if (figures.lost > figures.settled && !mutant("path.report.lost.remove"))
      return std::unexpected(WireError::BadVarint);
  }
  return report;
}

Result<PathRequest> read_request(ByteReader& in) {
  PathRequest request;
  TRY(request.number, in.varint());
  uint64_t at = 0;
  while (!in.empty()) {
    TRY(const uint64_t step, in.varint());
    if (request.count == PathRequest::kSequencesMax && !mutant("path.request.limit.remove"))
      return std::unexpected(WireError::TooMany);
    if (request.count > 0 && step == 0 && !mutant("path.request.order.remove"))
      return std::unexpected(WireError::BadVarint);
    at += step;
    request.sequences[request.count++] = at;
  }
  return request;
}

}  // namespace

size_t write_path_message(const PathMessage& message, MutableBytes out) {
  ByteWriter writer(out);
  if (const auto* report = std::get_if<PathReport>(&message)) {
    write_report(*report, writer);
  } else {
    const auto& request = std::get<PathRequest>(message);
    writer.varint(kRequest);
    writer.varint(request.number);
    uint64_t before = 0;
    for (size_t i = 0; i < request.count; ++i) {
      writer.varint(request.sequences[i] - before);
      before = request.sequences[i];
    }
  }
  return writer.fits() ? writer.size() : 0;
}

std::optional<PathMessage> read_path_message(Bytes in) {
  ByteReader reader(in);
  const auto type = reader.varint();
  if (!type) return std::nullopt;
  if (*type == kReport) {
    if (const auto report = read_report(reader)) return *report;
  } else if (*type == kRequest) {
    if (const auto request = read_request(reader)) return *request;
  }
  return std::nullopt;
}

}  // namespace masque
