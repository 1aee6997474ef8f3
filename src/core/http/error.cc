// SPDX-License-Identifier: Apache-2.0
#include "core/http/error.h"

namespace masque {

std::string_view to_string(HttpError error) {
  switch (error) {
    case HttpError::Datagram:
      return "H3_DATAGRAM_ERROR";
    case HttpError::NoError:
      return "H3_NO_ERROR";
    case HttpError::GeneralProtocol:
      return "H3_GENERAL_PROTOCOL_ERROR";
    case HttpError::Internal:
      return "H3_INTERNAL_ERROR";
    case HttpError::StreamCreation:
      return "H3_STREAM_CREATION_ERROR";
    case HttpError::ClosedCriticalStream:
      return "H3_CLOSED_CRITICAL_STREAM";
    case HttpError::FrameUnexpected:
      return "H3_FRAME_UNEXPECTED";
    case HttpError::Frame:
      return "H3_FRAME_ERROR";
    case HttpError::ExcessiveLoad:
      return "H3_EXCESSIVE_LOAD";
    case HttpError::Id:
      return "H3_ID_ERROR";
    case HttpError::Settings:
      return "H3_SETTINGS_ERROR";
    case HttpError::MissingSettings:
      return "H3_MISSING_SETTINGS";
    case HttpError::RequestRejected:
      return "H3_REQUEST_REJECTED";
    case HttpError::RequestCancelled:
      return "H3_REQUEST_CANCELLED";
    case HttpError::RequestIncomplete:
      return "H3_REQUEST_INCOMPLETE";
    case HttpError::Message:
      return "H3_MESSAGE_ERROR";
    case HttpError::Connect:
      return "H3_CONNECT_ERROR";
    case HttpError::VersionFallback:
      return "H3_VERSION_FALLBACK";
  }
  // RFC 9114 9: an unknown code counts as H3_NO_ERROR.
  return "H3_NO_ERROR";
}

HttpError to_http_error(WireError error) {
  // Every malformed capsule is a malformed message, whatever was wrong with it; only what breaks
  // our limits is load.
  return error == WireError::TooMany || error == WireError::TooLong ? HttpError::ExcessiveLoad
                                                                    : HttpError::Message;
}

}  // namespace masque
