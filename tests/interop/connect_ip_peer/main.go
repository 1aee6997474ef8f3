// SPDX-License-Identifier: Apache-2.0

// connect-ip-peer is a CONNECT-IP client or proxy on quic-go/connect-ip-go with a real TUN: the
// interop tests' peer that this project did not write. It tells what happens as JSON lines on
// stdout (events.go), needs root and the `ip` program, and ends on SIGTERM or SIGINT.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"net/netip"
	"os"
	"os/signal"
	"strconv"
	"strings"
	"syscall"

	connectip "github.com/quic-go/connect-ip-go"
)

// Inner packets up to 1280 bytes always fit the 1350-byte packets that both ends start with.
const (
	defaultMTU        = 1280
	initialPacketSize = 1350
	maxPacketSize     = 65535
)

// prefixList is a flag: prefixes separated by commas, the flag may be repeated.
type prefixList []netip.Prefix

func (l *prefixList) String() string { return fmt.Sprint([]netip.Prefix(*l)) }

func (l *prefixList) Set(text string) error {
	for _, word := range strings.Split(text, ",") {
		prefix, err := netip.ParsePrefix(word)
		if err != nil {
			return err
		}
		*l = append(*l, prefix)
	}
	return nil
}

// routeList is a flag: START-END or PREFIX, each with an optional =PROTOCOL, separated by commas.
type routeList []connectip.IPRoute

func (l *routeList) String() string { return fmt.Sprint([]connectip.IPRoute(*l)) }

func (l *routeList) Set(text string) error {
	for _, word := range strings.Split(text, ",") {
		route, err := parseRoute(word)
		if err != nil {
			return err
		}
		*l = append(*l, route)
	}
	return nil
}

func parseRoute(word string) (connectip.IPRoute, error) {
	span, protocolText, hasProtocol := strings.Cut(word, "=")
	var route connectip.IPRoute
	if hasProtocol {
		protocol, err := strconv.ParseUint(protocolText, 10, 8)
		if err != nil {
			return route, err
		}
		route.IPProtocol = uint8(protocol)
	}
	if start, end, isRange := strings.Cut(span, "-"); isRange {
		var err, errEnd error
		route.StartIP, err = netip.ParseAddr(start)
		route.EndIP, errEnd = netip.ParseAddr(end)
		return route, errors.Join(err, errEnd)
	}
	prefix, err := netip.ParsePrefix(span)
	if err != nil {
		return route, err
	}
	route.StartIP, route.EndIP = prefix.Masked().Addr(), lastAddress(prefix)
	return route, nil
}

func lastAddress(prefix netip.Prefix) netip.Addr {
	bytes := prefix.Masked().Addr().AsSlice()
	for bit := prefix.Bits(); bit < len(bytes)*8; bit++ {
		bytes[bit/8] |= 0x80 >> (bit % 8)
	}
	last, _ := netip.AddrFromSlice(bytes)
	return last
}

// commonFlags are those of both modes.
type commonFlags struct {
	uri      string
	caFile   string
	certFile string
	keyFile  string
	token    string
	tunName  string
	mtu      int
}

func (c *commonFlags) register(flags *flag.FlagSet) {
	flags.StringVar(&c.uri, "uri", "", "fixed URI of the proxy: https://HOST:PORT/PATH")
	flags.StringVar(&c.caFile, "ca", "", "PEM file that signs the other side's certificate")
	flags.StringVar(&c.certFile, "cert", "", "PEM file, own certificate")
	flags.StringVar(&c.keyFile, "key", "", "PEM file, own key")
	flags.StringVar(&c.token, "token", "", "bearer token to send, or to demand")
	flags.StringVar(&c.tunName, "tun", "peer0", "name of the TUN interface")
	flags.IntVar(&c.mtu, "mtu", defaultMTU, "MTU of the TUN interface")
}

func main() {
	if len(os.Args) < 2 {
		fmt.Fprintln(os.Stderr, "usage: connect-ip-peer client|proxy FLAGS; -h lists them")
		os.Exit(2)
	}
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM, syscall.SIGINT)
	defer stop()

	var err error
	switch mode := os.Args[1]; mode {
	case "client":
		err = runClient(ctx, os.Args[2:])
	case "proxy":
		err = runProxy(ctx, os.Args[2:])
	default:
		err = fmt.Errorf("unknown mode %q", mode)
	}
	if err != nil && ctx.Err() == nil {
		emit("failed", fields{"error": err.Error()})
		os.Exit(1)
	}
}
