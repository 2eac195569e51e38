#!/bin/sh
# site.sh SOCKET FPM... -- NGINX...: php-fpm, and nginx as soon as php-fpm listens at SOCKET. Ends both on SIGTERM.
socket=$1
shift
fpm=
while [ "$1" != -- ]; do
  fpm="$fpm '$1'"
  shift
done
shift
eval "$fpm &"
fpm=$!
while [ ! -S "$socket" ]; do sleep 0.05; done
"$@" &
nginx=$!
trap 'kill -TERM $nginx; wait $nginx; kill -QUIT $fpm' TERM INT
# A signal ends the first wait.
wait $nginx
wait $fpm
exit 0
