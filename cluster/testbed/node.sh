#!/bin/bash
# The first process of a machine in the laboratory (see lab.sh): mounts of its own, then an SSH server in its own network.
#
#     node.sh NAME ADDRESS ENVIRONMENT
set -euo pipefail
name=$1 address=$2 environment=$3

mount -t proc proc /proc
source "$(dirname "$0")/mounts.sh"
private /tmp /run /dev/shm
chmod 1777 /tmp /dev/shm
mkdir -p /run/sshd /run/home
mount -o bind,ro "$environment" "$environment" # it is everybody's: what a machine would install must not change it
ln -s "$environment" /run/home/entrepot-venv  # there is no internet to install one from
hostname "$name"

until ip link show eth0 >/dev/null 2>&1; do sleep 0.02; done
ip link set lo up
ip address add "$address/24" dev eth0
ip link set eth0 up
ip route add default via 10.77.0.254
exec /usr/sbin/sshd -D -e -f /mnt/lab/sshd_config
