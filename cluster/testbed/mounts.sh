# For lab.sh and node.sh, in a mount namespace of their own.

# Puts an empty folder, in memory, in the place of each, and the repository back if it lies in one of them.
#
#     private FOLDER ...
private() {
    local folder repository
    repository=$(cd "$(dirname "${BASH_SOURCE[0]}")/../.." && pwd -P)
    exec 9<"$repository"
    for folder; do
        mount -t tmpfs tmpfs "$folder"
    done
    if [ ! -e "$repository" ]; then
        mkdir -p "$repository"
        mount --no-canonicalize --rbind /proc/self/fd/9 "$repository" # its path leads to it no more
    fi
    exec 9<&-
}
