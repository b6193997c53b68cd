#!/bin/bash
# Runs a command in a laboratory: namespaces of its own for network, mounts, processes, names and shared memory, in which
# `lab.py` builds machines. All of it lives in the memory of these namespaces, and the kernel ends them with this shell:
# whatever happens to the command, no process, interface, mount or file is left.
#
#     lab.sh COMMAND [ARGUMENT ...]
set -euo pipefail

if [ "$$" -ne 1 ]; then # not yet the first process of its own namespace
    [ "$(id -u)" -eq 0 ] || { echo "lab: needs root, for namespaces; got user $(id -un)" >&2; exit 2; }
    exec setpriv --pdeathsig KILL unshare --net --mount --pid --uts --ipc --fork --kill-child bash "$0" "$@"
fi

mount -t proc proc /proc
source "$(dirname "$0")/mounts.sh"
private /mnt /tmp /run /dev/shm
chmod 1777 /tmp /dev/shm

# /mnt is what all machines see: the laboratory's own files, and a folder that stands for network storage.
mkdir -p /mnt/lab /mnt/shared /run/home /run/sshd
sed -E 's#^(root:[^:]*:0:0:[^:]*:).*#\1/run/home:/bin/bash#' /etc/passwd >/mnt/lab/passwd
echo 'nameserver 127.0.0.1' >/mnt/lab/resolv.conf # nobody listens: look-ups fail at once instead of hanging
echo '127.0.0.1 localhost' >/mnt/lab/hosts
for file in passwd resolv.conf hosts; do
    mount --bind "/mnt/lab/$file" "/etc/$file"
done
ssh-keygen -q -t ed25519 -N '' -C lab -f /mnt/lab/host_key
ssh-keygen -q -t ed25519 -N '' -C lab -f /mnt/lab/key

hostname lab
ip link set lo up
ip link add lab0 type bridge
ip address add 10.77.0.254/24 dev lab0
ip link set lab0 up

export HOME=/run/home ENTREPOT_LAB=ready
cd "$PWD" # as the new mounts show it
exit_code=0
"$@" || exit_code=$?
exit $exit_code
