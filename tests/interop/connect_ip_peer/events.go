// SPDX-License-Identifier: Apache-2.0

package main

import (
	"encoding/json"
	"errors"
	"net"
	"net/netip"
	"os"
	"sync"

	connectip "github.com/quic-go/connect-ip-go"
	"github.com/quic-go/quic-go"
	"github.com/quic-go/quic-go/http3"
)

// What is printed, one JSON object a line, "event" first:
//
//	listening                       proxy: the socket is open
//	connected   status              client: 2xx; proxy: a client was accepted
//	refused     status, reason      client: another answer; proxy: what it answered
//	addresses   prefixes            what the peer assigned, after the TUN has them
//	routes      ranges              what the peer advertised; a client's TUN has them
//	requested   prefixes            the peer asked for addresses
//	closed      error, remote, codes  the session ended
//	failed      error               the program ends with 1
type fields map[string]any

var output sync.Mutex

func emit(event string, more fields) {
	line := fields{"event": event}
	for key, value := range more {
		line[key] = value
	}
	output.Lock()
	defer output.Unlock()
	_ = json.NewEncoder(os.Stdout).Encode(line)
}

func emitClosed(err error) {
	line := fields{"error": err.Error()}
	var closed *connectip.CloseError
	if errors.As(err, &closed) {
		line["remote"] = closed.Remote
	}
	var streamError *quic.StreamError
	if errors.As(err, &streamError) {
		line["stream_code"] = uint64(streamError.ErrorCode)
	}
	var applicationError *quic.ApplicationError
	if errors.As(err, &applicationError) {
		line["connection_code"] = uint64(applicationError.ErrorCode)
	}
	var http3Error *http3.Error
	if errors.As(err, &http3Error) {
		line["http3_code"] = uint64(http3Error.ErrorCode)
	}
	if errors.Is(err, net.ErrClosed) {
		line["clean"] = true
	}
	emit("closed", line)
}

func assignedTexts(assigned []connectip.AssignedAddress) []fields {
	texts := make([]fields, 0, len(assigned))
	for _, one := range assigned {
		texts = append(texts, fields{
			"prefix": one.IPPrefix.String(), "request_id": one.RequestID, "rejected": one.Rejected(),
		})
	}
	return texts
}

func rangeTexts(routes []connectip.IPRoute) []fields {
	texts := make([]fields, 0, len(routes))
	for _, route := range routes {
		texts = append(texts, fields{
			"start": route.StartIP.String(), "end": route.EndIP.String(), "protocol": route.IPProtocol,
		})
	}
	return texts
}

func prefixTexts(prefixes []netip.Prefix) []string {
	texts := make([]string, 0, len(prefixes))
	for _, prefix := range prefixes {
		texts = append(texts, prefix.String())
	}
	return texts
}
