#!/bin/sh
# Stands before make in the PATH of tasks that have a jobserver (docs/claims.md). To make, "-j" without a number
# means "no limit", and it leaves the jobserver for that; in a task it shall mean "as many as are claimed", which
# is what make does by itself with a jobserver. So that option is left out, and make does the rest. To its recipes
# make calls itself what MAKE says; without a path that is this script again, so that the same is so at any depth.
name=${0##*/}
own=${0%/*}
real=
set -f
IFS=:
for directory in $PATH; do
    candidate=${directory:-.}/$name
    if [ "$directory" != "$own" ] && [ -f "$candidate" ] && [ -x "$candidate" ]; then
        real=$candidate
        break
    fi
done
if [ -z "$real" ]; then
    echo "$name: not found" >&2
    exit 127
fi
case $MAKEFLAGS in
*--jobserver-auth=*) left=$# ;;
*) exec "$real" "$@" ;;
esac
export MAKE="${MAKE:-$name}"
options=yes
while [ "$left" -gt 0 ]; do
    argument=$1
    shift
    left=$((left - 1))
    bare=
    case $options$argument in
    yes--) options=no ;;
    yes-j | yes--j | yes--jo | yes--job | yes--jobs) bare=none ;;
    yes--*) ;;
    yes-*j)
        case ${argument#-} in
        # Anything but letters of options that take no value: then the j may be a value's.
        *[!BLRSbdeijkmnpqrstvw]*) ;;
        *) bare=${argument%j} ;;
        esac
        ;;
    esac
    case $left:$1 in
    # A number that stands apart belongs to the option.
    0:* | *:*[!0-9]* | *:) ;;
    *) bare= ;;
    esac
    case $bare in
    '') set -- "$@" "$argument" ;;
    none) ;;
    *) set -- "$@" "$bare" ;;
    esac
done
exec "$real" "$@"
