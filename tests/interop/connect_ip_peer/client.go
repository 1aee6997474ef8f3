// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"flag"
	"fmt"
	"os"
	"time"

	connectip "github.com/quic-go/connect-ip-go"
	"github.com/quic-go/quic-go"
	"github.com/quic-go/quic-go/http3"
	"github.com/yosida95/uritemplate/v3"
)

const keepAlivePeriod = 10 * time.Second

type clientFlags struct {
	commonFlags
	address   string
	request   prefixList
	advertise routeList
}

func parseClientFlags(arguments []string) (*clientFlags, error) {
	var options clientFlags
	flags := flag.NewFlagSet("client", flag.ExitOnError)
	options.register(flags)
	flags.StringVar(&options.address, "address", "", "ADDR:PORT to dial instead of the URI's host")
	flags.Var(&options.request, "request", "prefixes to ask for by ADDRESS_REQUEST")
	flags.Var(&options.advertise, "advertise", "routes to advertise to the proxy")
	return &options, flags.Parse(arguments)
}

func runClient(ctx context.Context, arguments []string) error {
	options, err := parseClientFlags(arguments)
	if err != nil {
		return err
	}
	conn, err := dial(ctx, options)
	if err != nil {
		return err
	}
	defer conn.Close()
	tun, err := openTun(options.tunName, options.mtu)
	if err != nil {
		return err
	}
	defer tun.file.Close()

	if len(options.advertise) > 0 {
		if err := conn.AdvertiseRoute(options.advertise); err != nil {
			return err
		}
	}
	if len(options.request) > 0 {
		if _, err := conn.RequestAddresses(options.request); err != nil {
			return err
		}
	}
	live := newSession(conn, tun)
	live.installsRoutes = true
	ended := make(chan error, 3)
	go func() { ended <- live.follow(ctx) }()
	go func() { ended <- live.receive() }()
	go func() { ended <- sendFromTun(tun, func() *session { return live }) }()
	select {
	case <-ctx.Done():
		return nil
	case err := <-ended:
		emitClosed(err)
		return nil
	}
}

func dial(ctx context.Context, options *clientFlags) (*connectip.Conn, error) {
	template, err := uritemplate.New(options.uri)
	if err != nil {
		return nil, err
	}
	request, err := connectip.NewRequest(ctx, template)
	if err != nil {
		return nil, err
	}
	if options.token != "" {
		request.Header().Set("Authorization", "Bearer "+options.token)
	}
	tlsConfig, err := clientTLS(options)
	if err != nil {
		return nil, err
	}
	transport := &connectip.Transport{
		TLSClientConfig: tlsConfig,
		QUICConfig: &quic.Config{
			EnableDatagrams: true, InitialPacketSize: initialPacketSize, KeepAlivePeriod: keepAlivePeriod,
		},
	}
	if options.address != "" {
		transport.DialAddr = func(ctx context.Context, _ string, tlsConfig *tls.Config,
			config *quic.Config) (*quic.Conn, error) {
			return quic.DialAddr(ctx, options.address, tlsConfig, config)
		}
	}
	conn, response, err := transport.Dial(request)
	if response != nil && err != nil {
		emit("refused", fields{"status": response.StatusCode, "headers": response.Header})
	}
	if err != nil {
		return nil, err
	}
	emit("connected", fields{"status": response.StatusCode, "headers": response.Header})
	return conn, nil
}

func clientTLS(options *clientFlags) (*tls.Config, error) {
	config := &tls.Config{NextProtos: []string{http3.NextProtoH3}}
	if options.caFile != "" {
		pool, err := readPool(options.caFile)
		if err != nil {
			return nil, err
		}
		config.RootCAs = pool
	}
	if options.address != "" {
		// quic.DialAddr would verify the name in `address`.
		template, err := uritemplate.New(options.uri)
		if err != nil {
			return nil, err
		}
		if config.ServerName, err = hostOf(template); err != nil {
			return nil, err
		}
	}
	if options.certFile != "" {
		certificate, err := tls.LoadX509KeyPair(options.certFile, options.keyFile)
		if err != nil {
			return nil, err
		}
		config.Certificates = []tls.Certificate{certificate}
	}
	return config, nil
}

func readPool(path string) (*x509.CertPool, error) {
	pem, err := os.ReadFile(path)
	if err != nil {
		return nil, err
	}
	pool := x509.NewCertPool()
	if !pool.AppendCertsFromPEM(pem) {
		return nil, fmt.Errorf("%s: no certificate", path)
	}
	return pool, nil
}
