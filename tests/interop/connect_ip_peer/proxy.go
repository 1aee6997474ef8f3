// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"crypto/tls"
	"errors"
	"flag"
	"net"
	"net/http"
	"net/netip"
	"net/url"
	"os"
	"os/signal"
	"sync/atomic"
	"syscall"

	connectip "github.com/quic-go/connect-ip-go"
	"github.com/quic-go/quic-go"
	"github.com/quic-go/quic-go/http3"
	"github.com/yosida95/uritemplate/v3"
)

type proxyFlags struct {
	commonFlags
	listen      string
	own         prefixList
	assign      prefixList
	assignLater prefixList
	route       routeList
	routeLater  routeList
	unprompted  bool
}

func parseProxyFlags(arguments []string) (*proxyFlags, error) {
	var options proxyFlags
	flags := flag.NewFlagSet("proxy", flag.ExitOnError)
	options.register(flags)
	flags.StringVar(&options.listen, "listen", "", "ADDR:PORT to listen on")
	flags.Var(&options.own, "own", "addresses of the proxy's TUN")
	flags.Var(&options.assign, "assign", "prefixes for the client")
	flags.Var(&options.route, "route", "routes for the client")
	flags.BoolVar(&options.unprompted, "unprompted", true, "assign without being asked")
	flags.Var(&options.assignLater, "assign-later", "prefixes for the client from SIGUSR1 on")
	flags.Var(&options.routeLater, "route-later", "routes for the client from SIGUSR1 on")
	return &options, flags.Parse(arguments)
}

// proxy serves one client at a time: a new session takes over the TUN.
type proxy struct {
	options  *proxyFlags
	template *uritemplate.Template
	tun      *tunDevice
	current  atomic.Pointer[session]
}

func runProxy(ctx context.Context, arguments []string) error {
	options, err := parseProxyFlags(arguments)
	if err != nil {
		return err
	}
	served := &proxy{options: options}
	if served.template, err = uritemplate.New(options.uri); err != nil {
		return err
	}
	if served.tun, err = openTun(options.tunName, options.mtu); err != nil {
		return err
	}
	defer served.tun.file.Close()
	if err := served.tun.setAddresses(options.own); err != nil {
		return err
	}
	if err := served.tun.setRoutes(routedPrefixes(options.assign)); err != nil {
		return err
	}
	go func() { _ = sendFromTun(served.tun, served.current.Load) }()
	go served.changeOnSignal(ctx)
	return served.listen(ctx)
}

// routedPrefixes: where the client's addresses are, for the kernel.
func routedPrefixes(assigned []netip.Prefix) []netip.Prefix {
	prefixes := make([]netip.Prefix, 0, len(assigned))
	for _, prefix := range assigned {
		prefixes = append(prefixes, prefix.Masked())
	}
	return prefixes
}

func (p *proxy) listen(ctx context.Context) error {
	tlsConfig, err := p.tls()
	if err != nil {
		return err
	}
	packets, err := net.ListenPacket("udp", p.options.listen)
	if err != nil {
		return err
	}
	defer packets.Close()
	server := &http3.Server{
		TLSConfig: http3.ConfigureTLSConfig(tlsConfig),
		QUICConfig: &quic.Config{
			EnableDatagrams: true, InitialPacketSize: initialPacketSize, KeepAlivePeriod: keepAlivePeriod,
		},
		EnableDatagrams: true,
		Handler:         http.HandlerFunc(p.serve),
	}
	context.AfterFunc(ctx, func() {
		if live := p.current.Load(); live != nil {
			_ = live.conn.Close()
		}
		_ = server.Close()
	})
	emit("listening", fields{"address": packets.LocalAddr().String()})
	return server.Serve(packets)
}

func (p *proxy) tls() (*tls.Config, error) {
	certificate, err := tls.LoadX509KeyPair(p.options.certFile, p.options.keyFile)
	if err != nil {
		return nil, err
	}
	config := &tls.Config{Certificates: []tls.Certificate{certificate}}
	if p.options.caFile != "" {
		if config.ClientCAs, err = readPool(p.options.caFile); err != nil {
			return nil, err
		}
		config.ClientAuth = tls.RequireAndVerifyClientCert
	}
	return config, nil
}

func (p *proxy) serve(w http.ResponseWriter, r *http.Request) {
	refuse := func(status int, reason string) {
		emit("refused", fields{"status": status, "reason": reason, "path": r.URL.EscapedPath(),
			"authority": r.Host, "protocol": r.Proto})
		w.WriteHeader(status)
	}
	if p.options.token != "" && r.Header.Get("Authorization") != "Bearer "+p.options.token {
		refuse(http.StatusUnauthorized, "no valid token")
		return
	}
	if wanted, err := url.Parse(p.template.Raw()); err != nil || r.URL.Path != wanted.Path {
		refuse(http.StatusNotFound, "another path")
		return
	}
	request, err := connectip.ParseProxyRequest(r, p.template)
	var parseError *connectip.ProxyRequestParseError
	if errors.As(err, &parseError) {
		refuse(parseError.HTTPStatus, err.Error())
		return
	} else if err != nil {
		refuse(http.StatusBadRequest, err.Error())
		return
	}
	conn, err := (&connectip.Proxy{}).Proxy(w, request)
	if err != nil {
		refuse(http.StatusInternalServerError, err.Error())
		return
	}
	emit("connected", fields{"path": r.URL.EscapedPath(), "authority": r.Host})
	p.run(r.Context(), conn)
}

// run is one session, from the 200 to its end.
func (p *proxy) run(ctx context.Context, conn *connectip.Conn) {
	defer conn.Close()
	if p.options.unprompted {
		if err := conn.AssignAddresses(p.options.assign); err != nil {
			emitClosed(err)
			return
		}
	}
	if err := conn.AdvertiseRoute(p.options.route); err != nil {
		emitClosed(err)
		return
	}
	live := newSession(conn, p.tun)
	live.ownAddresses = p.options.own
	p.current.Store(live)
	defer p.current.CompareAndSwap(live, nil)

	ended := make(chan error, 3)
	go func() { ended <- live.follow(ctx) }()
	go func() { ended <- live.receive() }()
	go func() { ended <- p.answerRequests(ctx, conn) }()
	emitClosed(<-ended)
}

// answerRequests gives a requested address of each family once, and refuses the rest.
func (p *proxy) answerRequests(ctx context.Context, conn *connectip.Conn) error {
	for {
		request, err := conn.ReceiveAddressRequest(ctx)
		if err != nil {
			return err
		}
		emit("requested", fields{"prefixes": prefixTexts(request.Prefixes)})
		left := append([]netip.Prefix{}, p.options.assign...)
		answers := make([]netip.Prefix, len(request.Prefixes))
		for i, wanted := range request.Prefixes {
			for k, offered := range left {
				if offered.Addr().Is4() == wanted.Addr().Is4() {
					answers[i] = offered
					left = append(left[:k], left[k+1:]...)
					break
				}
			}
		}
		if err := request.Respond(answers, left); err != nil {
			return err
		}
	}
}

// changeOnSignal replaces the live client's addresses and routes at SIGUSR1.
func (p *proxy) changeOnSignal(ctx context.Context) {
	signals := make(chan os.Signal, 1)
	signal.Notify(signals, syscall.SIGUSR1)
	for {
		select {
		case <-ctx.Done():
			return
		case <-signals:
		}
		if live := p.current.Load(); live != nil {
			live.change(ctx, func() error { return p.changeTo(live) })
		}
	}
}

func (p *proxy) changeTo(live *session) error {
	return errors.Join(
		p.tun.setRoutes(routedPrefixes(p.options.assignLater)),
		live.conn.AssignAddresses(p.options.assignLater),
		live.conn.AdvertiseRoute(p.options.routeLater))
}

func hostOf(template *uritemplate.Template) (string, error) {
	parsed, err := url.Parse(template.Raw())
	if err != nil {
		return "", err
	}
	return parsed.Hostname(), nil
}
