# shellcheck shell=bash
# SPDX-License-Identifier: Apache-2.0
# The Debian mirror of this machine, read from its own apt configuration, and apt sources for a
# release made from it. No mirror is named in this repository.

debian_keyring=/usr/share/keyrings/debian-archive-keyring.gpg

# URI of the first configured Debian archive whose suite matches the pattern $1, as apt has it.
# Third-party archives have another origin.
mirror_uri() {
  # shellcheck disable=SC2016  # apt's variables
  apt-get indextargets --format '$(REPO_URI) $(RELEASE) $(CREATED_BY) $(ORIGIN)' 2>/dev/null |
    awk -v want="$1" '$2 ~ want && $3 == "Packages" && $4 == "Debian" && $1 !~ /^cdrom:/ {
      sub("/$", "", $1); print $1; exit }'
}

# The main archive. Fails when this machine's apt knows none.
debian_mirror() {
  local main
  # An index of a plain suite ("trixie", "stable"), never of "-updates" or "-security".
  main=$(mirror_uri '^[a-z]+$')
  if [[ -z $main ]]; then
    # apt tells origins only of archives that it has indexes of.
    apt-get update -qq >&2 || return
    main=$(mirror_uri '^[a-z]+$')
  fi
  [[ -n $main ]] && printf '%s\n' "$main"
}

# Prints deb822 sources of the release $1 with its updates and backports, and its security suite
# when this machine has one.
debian_sources() {
  local release=$1 main security
  main=$(debian_mirror) || return
  print_source "$main" "$release $release-updates $release-backports"
  security=$(mirror_uri '-security$')
  [[ -z $security ]] || print_source "$security" "$release-security"
}

print_source() {
  printf 'Types: deb\nURIs: %s\nSuites: %s\nComponents: main\nSigned-By: %s\n\n' \
    "$1" "$2" "$debian_keyring"
}

# How this machine reaches its mirror (proxies, TLS, time-outs), as lines of apt.conf.
mirror_apt_conf() {
  apt-config dump | grep -E '^Acquire::(https?|Check-|Retries|ForceIPv|Queue)' | grep -v '""'
  true
}
