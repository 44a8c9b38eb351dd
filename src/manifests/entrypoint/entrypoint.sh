#!/bin/sh
# Runs before the image's own entrypoint, and becomes it at the end.
#
# The group records a member's address when it joins. A pod that is scheduled
# anew comes back at another address, and the group goes on using the old one.
# So this script corrects the record once the configuration database answers:
# in the background, so that it neither delays nor fails the start, and again and
# again until it is done or the attempts are used up. What it did is in the log.
#
# The product does not publish how its database is laid out. What stands here is
# therefore a default; each value can be set with spec.pod.env:
#   XSLD_ENTRYPOINT        the image's own entrypoint
#   XSLD_ADDRESS_REFRESH   off: leave the record alone
#   XSLD_IJ                the command that runs Derby's SQL tool
#   XSLD_HOME              where the product is installed, to find that tool
#   XSLD_DERBY_HOSTS       where the database may be, tried in this order
#   XSLD_DERBY_PORT        its port
#   XSLD_DERBY_DATABASE    its name, with attributes such as ;user=...;password=...
#   XSLD_ADDRESS_SQL       the statement; @NAME@, @OLD@ and @NEW@ are replaced
#   XSLD_ADDRESS_ATTEMPTS  how often it is tried
#   XSLD_ADDRESS_INTERVAL  seconds between two attempts
set -u

volume=${XSLD_VOLUME:-/vol}
record=$volume/.xsld-operator-address
member=${MEMBER_NAME:-$(hostname)}

log() {
  echo "xsld-operator entrypoint: $*" >&2
}

present_address() {
  # The first address is the pod's.
  # shellcheck disable=SC2046
  set -- $(hostname -i 2>/dev/null)
  echo "${1:-}"
}

is_empty() {
  for file in "$volume"/*; do
    case $file in
      "$volume/*" | "$volume/lost+found") ;;
      *) return 1 ;;
    esac
  done
  return 0
}

find_ij() {
  if [ -n "${XSLD_IJ:-}" ]; then
    echo "$XSLD_IJ"
    return
  fi
  home=${XSLD_HOME:-/opt/ibm/WebSphere/eXtremeScale}
  tools=$(find "$home" -name derbytools.jar 2>/dev/null | head -n 1)
  java=$(command -v java || find "$home" -path '*/bin/java' 2>/dev/null | head -n 1)
  if [ -n "$tools" ] && [ -n "$java" ]; then
    echo "$java -cp $(dirname "$tools")/* org.apache.derby.tools.ij"
  fi
}

# Answers 0 when the record is right, 1 when this host could not do it.
correct_at() {
  host=$1 old=$2 new=$3
  statement=${XSLD_ADDRESS_SQL:-"UPDATE CACHEMEMBER SET IPADDRESS = '@NEW@' WHERE MEMBERNAME = '@NAME@';"}
  statement=$(echo "$statement" | sed "s/@NAME@/$member/g; s/@OLD@/$old/g; s/@NEW@/$new/g")
  # The command is split into words on purpose, and a star in it is Java's own.
  answer=$(
    set -f
    # shellcheck disable=SC2086
    printf "connect 'jdbc:derby://%s:%s/%s';\n%s\nexit;\n" \
      "$host" "${XSLD_DERBY_PORT:-1527}" "${XSLD_DERBY_DATABASE:-xsld}" "$statement" | $ij 2>&1
  )
  case $answer in
    *ERROR*) return 1 ;;
    *"0 rows inserted/updated/deleted"*)
      log "the database at $host does not list $member; its join will name $new"
      ;;
    *"inserted/updated/deleted"*) log "the group now knows $member at $new (was ${old:-unknown})" ;;
    *) return 1 ;;
  esac
}

refresh() {
  interval=${XSLD_ADDRESS_INTERVAL:-15}
  left=${XSLD_ADDRESS_ATTEMPTS:-120}
  new=$(present_address)
  old=$(cat "$record" 2>/dev/null)
  if [ -z "$new" ]; then
    log "this pod's address is not known; the group's record stays as it is"
    return
  fi
  if [ "$new" = "$old" ]; then
    return
  fi
  if [ "$fresh" = yes ]; then
    # A new volume: the join will tell the address. It is written down only once
    # the image has filled the volume, which may test whether it is empty.
    while [ "$left" -gt 0 ]; do
      if ! is_empty; then
        echo "$new" >"$record"
        return
      fi
      left=$((left - 1))
      sleep "$interval"
    done
    return
  fi
  ij=$(find_ij)
  if [ -z "$ij" ]; then
    log "Derby's SQL tool was not found; the group may not know $member at $new"
    return
  fi
  hosts=${XSLD_DERBY_HOSTS:-"localhost ${member%-*}-0.${member%-*}"}
  while [ "$left" -gt 0 ]; do
    for host in $hosts; do
      if correct_at "$host" "$old" "$new"; then
        echo "$new" >"$record"
        return
      fi
    done
    left=$((left - 1))
    sleep "$interval"
  done
  log "no database took the address of $member ($new); the next start tries again"
}

find_entrypoint() {
  for file in "${XSLD_ENTRYPOINT:-}" /entrypoint.sh /opt/ibm/entrypoint.sh /usr/local/bin/entrypoint.sh; do
    if [ -n "$file" ] && [ -x "$file" ]; then
      echo "$file"
      return
    fi
  done
  command -v entrypoint.sh
}

entrypoint=$(find_entrypoint)
if [ -z "$entrypoint" ]; then
  log "the image's own entrypoint was not found; name it with XSLD_ENTRYPOINT in spec.pod.env"
  exit 127
fi
# Seen now, before the image can fill the volume.
fresh=no
if [ ! -e "$record" ] && is_empty; then
  fresh=yes
fi
if [ "${XSLD_ADDRESS_REFRESH:-on}" != off ]; then
  refresh &
fi
exec "$entrypoint" "$@"
