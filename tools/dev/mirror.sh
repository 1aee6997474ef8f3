# shellcheck shell=bash
# The Debian mirror of this machine, read from its own apt configuration, and apt sources for a
# release made from it. No mirror is named in this repository.

debian_keyring=/usr/share/keyrings/debian-archive-keyring.gpg

# URI of the first configured archive whose suite matches the pattern $1, as the person wrote it.
mirror_uri() {
  apt-get indextargets --format '$(REPO_URI) $(RELEASE) $(CREATED_BY) $(LABEL) $(ORIGIN)' 2>/dev/null |
    awk -v want="$1" '$2 ~ want && $3 == "Packages" { sub("/$", "", $1); print $1; exit }'
}

# deb822 sources of release $1 with its updates and backports, and security when configured.
debian_sources() {
  local release=$1 main security suites
  # An index of a plain suite ("trixie", "stable"), never of "-updates" or "-security".
  main=$(mirror_uri '^[a-z]+$')
  security=$(mirror_uri '-security$|/updates$')
  [[ -n $main ]] || return 1
  suites="$release $release-updates $release-backports"
  printf 'Types: deb\nURIs: %s\nSuites: %s\nComponents: main\nSigned-By: %s\n' \
    "$main" "$suites" "$debian_keyring"
  [[ -z $security ]] && return
  printf '\nTypes: deb\nURIs: %s\nSuites: %s\nComponents: main\nSigned-By: %s\n' \
    "$security" "$release-security" "$debian_keyring"
}

# The host's apt settings for reaching its mirror (proxies, TLS, timeouts), as apt.conf lines.
mirror_apt_conf() {
  apt-config dump | grep -iE '^(Acquire::(https?|ftp|Check-|Retries|ForceIPv|Queue)|apt::authentication)' |
    grep -v '""' || true
}
