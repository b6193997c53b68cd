#!/bin/sh
# Installs the programs that some tests and benchmarks drive: a browser for the page, nginx and openssl for TLS, nft for
# the firewall, h2load for load, Prometheus with promtool for monitoring; what machines in a laboratory need (sshd, ip, …).
# Where this is not Debian, or not root, it says what is missing, and those tests are skipped.
set -eu
PATH="$PATH:/usr/sbin:/usr/local/sbin"

missing=""
for tool in chromium nginx openssl nft h2load prometheus ssh sshd rsync ip ss pgrep curl unshare; do
    case $tool in
        nft) package=nftables ;;
        h2load) package=nghttp2-client ;;
        ssh) package=openssh-client ;;
        sshd) package=openssh-server ;;
        ip | ss) package=iproute2 ;;
        pgrep) package=procps ;;
        unshare) package=util-linux ;;
        *) package=$tool ;;
    esac
    command -v "$tool" >/dev/null || missing="$missing $package"
done
[ -n "$missing" ] || exit 0

if [ "$(id -u)" -ne 0 ] || ! command -v apt-get >/dev/null; then
    echo "Tests that need$missing are skipped; as root on Debian \`make test-tools\` installs them."
    exit 0
fi

# Debian starts a web server that it installs, unless this file says no; a machine for tests should not serve.
policy=/usr/sbin/policy-rc.d
if [ ! -e "$policy" ]; then
    printf '#!/bin/sh\nexit 101\n' >"$policy"
    chmod 755 "$policy"
    trap 'rm -f "$policy"' EXIT
fi
echo "Installing$missing for the tests"
export DEBIAN_FRONTEND=noninteractive
apt-get update -qq >/dev/null
# shellcheck disable=SC2086
apt-get install -y -qq --no-install-recommends $missing >/dev/null
