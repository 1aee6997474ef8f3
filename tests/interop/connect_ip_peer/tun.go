// SPDX-License-Identifier: Apache-2.0

package main

import (
	"fmt"
	"net/netip"
	"os"
	"os/exec"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"
)

// tunDevice is a TUN interface without packet information or offloads: one read, one packet.
// Its addresses and routes are those of the last call; `ip` does the configuration.
type tunDevice struct {
	file      *os.File
	name      string
	addresses map[netip.Prefix]bool
	routes    map[netip.Prefix]bool
}

func openTun(name string, mtu int) (*tunDevice, error) {
	fd, err := unix.Open("/dev/net/tun", unix.O_RDWR|unix.O_NONBLOCK|unix.O_CLOEXEC, 0)
	if err != nil {
		return nil, fmt.Errorf("/dev/net/tun: %w", err)
	}
	request, err := unix.NewIfreq(name)
	if err != nil {
		unix.Close(fd)
		return nil, err
	}
	request.SetUint16(unix.IFF_TUN | unix.IFF_NO_PI)
	if err := unix.IoctlIfreq(fd, unix.TUNSETIFF, request); err != nil {
		unix.Close(fd)
		return nil, fmt.Errorf("TUNSETIFF %s: %w", name, err)
	}
	device := &tunDevice{
		// A non-blocking descriptor: Close ends a Read that waits.
		file: os.NewFile(uintptr(fd), "tun"), name: name,
		addresses: map[netip.Prefix]bool{}, routes: map[netip.Prefix]bool{},
	}
	return device, runIP("link", "set", "dev", name, "mtu", strconv.Itoa(mtu), "up")
}

// setAddresses leaves exactly these addresses on the interface.
func (t *tunDevice) setAddresses(prefixes []netip.Prefix) error {
	return replace(t.addresses, prefixes, func(prefix netip.Prefix, present bool) error {
		if !present {
			return runIP("address", "del", prefix.String(), "dev", t.name)
		}
		words := []string{"address", "replace", prefix.String(), "dev", t.name}
		if prefix.Addr().Is6() {
			words = append(words, "nodad")
		}
		return runIP(words...)
	})
}

// setRoutes leaves exactly these routes through the interface.
func (t *tunDevice) setRoutes(prefixes []netip.Prefix) error {
	return replace(t.routes, prefixes, func(prefix netip.Prefix, present bool) error {
		if !present {
			return runIP("route", "del", prefix.String(), "dev", t.name)
		}
		return runIP("route", "replace", prefix.String(), "dev", t.name)
	})
}

// replace makes `present` equal to `wanted`, calling change for each difference, removals last.
func replace(present map[netip.Prefix]bool, wanted []netip.Prefix,
	change func(netip.Prefix, bool) error) error {
	keep := map[netip.Prefix]bool{}
	for _, prefix := range wanted {
		keep[prefix] = true
		if !present[prefix] {
			if err := change(prefix, true); err != nil {
				return err
			}
			present[prefix] = true
		}
	}
	for prefix := range present {
		if !keep[prefix] {
			if err := change(prefix, false); err != nil {
				return err
			}
			delete(present, prefix)
		}
	}
	return nil
}

func runIP(words ...string) error {
	text, err := exec.Command("ip", words...).CombinedOutput()
	if err != nil {
		return fmt.Errorf("ip %s: %w: %s", strings.Join(words, " "), err, text)
	}
	return nil
}
