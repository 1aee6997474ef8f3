// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"errors"
	"net"
	"net/netip"

	connectip "github.com/quic-go/connect-ip-go"
)

// session carries packets between a TUN and one CONNECT-IP session and keeps the TUN's addresses
// and routes as the peer says. Either mode uses it; it ends when the session or the TUN does.
type session struct {
	conn *connectip.Conn
	tun  *tunDevice
	// Changes to the TUN's configuration, made one after the other by follow.
	changes chan func() error
	ended   chan struct{}
	// What the TUN has whatever the peer assigns.
	ownAddresses []netip.Prefix
	// A proxy that did would let any client take over the path to its other clients.
	installsRoutes bool
}

func newSession(conn *connectip.Conn, tun *tunDevice) *session {
	return &session{conn: conn, tun: tun, changes: make(chan func() error),
		ended: make(chan struct{})}
}

// change has follow run it; nothing happens when the session has ended.
func (s *session) change(ctx context.Context, change func() error) {
	select {
	case s.changes <- change:
	case <-s.ended:
	case <-ctx.Done():
	}
}

// follow applies the peer's assignments and routes until the session ends.
func (s *session) follow(ctx context.Context) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	defer close(s.ended)
	failed := make(chan error, 2)
	go func() {
		for {
			assigned, err := s.conn.ReceiveAddressAssignment(ctx)
			if err != nil {
				failed <- err
				return
			}
			s.change(ctx, func() error { return s.onAddresses(assigned) })
		}
	}()
	go func() {
		for {
			routes, err := s.conn.Routes(ctx)
			if err != nil {
				failed <- err
				return
			}
			s.change(ctx, func() error { return s.onRoutes(routes) })
		}
	}()
	for {
		select {
		case change := <-s.changes:
			if err := change(); err != nil {
				return err
			}
		case err := <-failed:
			return err
		}
	}
}

func (s *session) onAddresses(assigned []connectip.AssignedAddress) error {
	wanted := append([]netip.Prefix{}, s.ownAddresses...)
	for _, one := range assigned {
		if !one.Rejected() {
			wanted = append(wanted, one.IPPrefix)
		}
	}
	if err := s.tun.setAddresses(wanted); err != nil {
		return err
	}
	emit("addresses", fields{"prefixes": assignedTexts(assigned)})
	return nil
}

func (s *session) onRoutes(routes []connectip.IPRoute) error {
	if s.installsRoutes {
		var wanted []netip.Prefix
		for _, route := range routes {
			wanted = append(wanted, route.Prefixes()...)
		}
		if err := s.tun.setRoutes(wanted); err != nil {
			return err
		}
	}
	emit("routes", fields{"ranges": rangeTexts(routes)})
	return nil
}

// receive moves packets from the peer to the TUN until the session ends.
func (s *session) receive() error {
	packet := make([]byte, maxPacketSize)
	for {
		n, err := s.conn.ReadPacket(packet)
		if err != nil {
			return err
		}
		// The kernel refuses what is no IP packet; that is the packet's fault.
		if _, err := s.tun.file.Write(packet[:n]); errors.Is(err, net.ErrClosed) {
			return err
		}
	}
}

// sendFromTun moves packets from the TUN to whatever session `current` names, until the TUN closes.
func sendFromTun(tun *tunDevice, current func() *session) error {
	packet := make([]byte, maxPacketSize)
	for {
		n, err := tun.file.Read(packet)
		if err != nil {
			return err
		}
		to := current()
		if to == nil {
			continue
		}
		// An answer means "too big": it is for whoever sent the packet.
		if answer, err := to.conn.WritePacket(packet[:n]); err == nil && answer != nil {
			_, _ = tun.file.Write(answer)
		}
	}
}
