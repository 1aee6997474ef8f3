# SPDX-License-Identifier: Apache-2.0
# Made by `masque-vpn completion bash`: change src/service/cli, not this file.
_masque_vpn() {
  local cur=${COMP_WORDS[COMP_CWORD]} prev=${COMP_WORDS[COMP_CWORD-1]} path='' words='' i longer
  COMPREPLY=()
  case $prev in
    --config|--output|--socket|-c|-o) mapfile -t COMPREPLY < <(compgen -f -- "$cur"); return ;;
    --address|--allow|--client|--days|--endpoint|--interval|--listen|--name|--pool|--route|--subnet|--tun-name) return ;;
    --log-level) mapfile -t COMPREPLY < <(compgen -W 'trace debug info warn error off' -- "$cur"); return ;;
    --reach-clients) mapfile -t COMPREPLY < <(compgen -W 'yes no' -- "$cur"); return ;;
    --reach-gateway) mapfile -t COMPREPLY < <(compgen -W 'no ping tunnel all' -- "$cur"); return ;;
  esac
  for ((i = 1; i < COMP_CWORD; i++)); do
    longer=${path:+$path }${COMP_WORDS[i]}
    case $longer in
      'server'|'client'|'status'|'watch'|'reload'|'init'|'user'|'user add'|'user list'|'user revoke'|'user set'|'user token'|'session'|'session set'|'session list'|'session kick'|'check'|'completion'|'man') path=$longer ;;
    esac
  done
  case $path in
    '') words='server client status watch reload init user session check completion man --version -h --help' ;;
    'server') words='-h --help -c --config --log-level' ;;
    'client') words='-h --help -c --config --log-level' ;;
    'status') words='-h --help -c --config --socket --json' ;;
    'watch') words='-h --help -c --config --socket --client --interval --json --ascii' ;;
    'reload') words='-h --help -c --config --socket' ;;
    'init') words='-h --help --listen --name --pool --route --tun-name' ;;
    'user') words='add list revoke set token -h --help' ;;
    'user add') words='-h --help -c --config --endpoint --tun-name -o --output --days --allow --address --route --subnet --reach-clients --reach-gateway' ;;
    'user list') words='-h --help -c --config --json' ;;
    'user revoke') words='-h --help -c --config' ;;
    'user set') words='-h --help -c --config --allow --address --route --subnet --reach-clients --reach-gateway' ;;
    'user token') words='-h --help -c --config' ;;
    'session') words='set list kick -h --help' ;;
    'session set') words='-h --help --address --route -c --config --socket' ;;
    'session list') words='-h --help -c --config --socket --json' ;;
    'session kick') words='-h --help -c --config --socket' ;;
    'check') words='-h --help -c --config' ;;
    'completion') words='bash zsh fish -h --help' ;;
    'man') words='command config -h --help' ;;
  esac
  mapfile -t COMPREPLY < <(compgen -W "$words" -- "$cur")
}
complete -o filenames -F _masque_vpn masque-vpn
