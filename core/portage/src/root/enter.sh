#!/bin/bash
# Process 1 of a private root: puts the root together from its description, goes into it and runs a command.
#
#   enter.sh DESCRIPTION COMMAND [ARG...]
#
# Runs as user 0 in new mount, PID, IPC, UTS and, without network, network namespaces; that user 0 may be an
# ordinary user in a user namespace. When this process ends the kernel ends every other one in the
# namespaces and takes the mounts away, so nothing here has to be undone.
#
# DESCRIPTION holds NUL-terminated words, an operation and its operands:
#   scratch BYTES          keep everything that is written in memory, at most that much
#   userns                 user 0 is an ordinary user outside
#   dir PATH MODE          make a directory
#   link TARGET PATH       make a symbolic link
#   overlay PATH LOWER     let PATH show LOWER (directories joined by ':'), changes going to the scratch
#   file SOURCE PATH       copy a file into an overlay before it is mounted
#   hide PATH              empty a directory of an overlay
#   ro|rw SOURCE PATH      show a file or directory of the outside
set -euo pipefail
# Whatever the caller's umask is: directories made here are for every user of the root, and modes of what is
# built must not depend on it.
umask 022
shopt -s nullglob
description=$1
work=${description%/*}
shift

fail() { echo "private root: $*" >&2; exit 125; }

mount --make-rprivate / || fail "cannot make mounts private"
scratch=$work/scratch
root=$scratch/root
userns=

while IFS= read -r -d '' operation; do
  case $operation in
    scratch)
      IFS= read -r -d '' bytes
      mount -t tmpfs -o "mode=755,size=$bytes" tmpfs "$scratch" || fail "cannot mount a tmpfs of $bytes bytes"
      ;;
    userns) userns=,userxattr ;;
    dir)
      IFS= read -r -d '' path; IFS= read -r -d '' mode
      mkdir -p "$root$path"; chmod "$mode" "$root$path"
      ;;
    link)
      IFS= read -r -d '' target; IFS= read -r -d '' path
      mkdir -p "$root${path%/*}"; ln -sfn "$target" "$root$path"
      ;;
    file)
      IFS= read -r -d '' source; IFS= read -r -d '' path
      mkdir -p "$scratch/upper${path%/*}"; cp -p "$source" "$scratch/upper$path"
      ;;
    overlay)
      IFS= read -r -d '' path; IFS= read -r -d '' lower
      upper=$scratch/upper$path
      mkdir -p "$root$path" "$upper" "$scratch/overlay$path"
      if [[ $userns ]]; then
        # A directory of an unmapped owner cannot be copied up; one that stands in the upper layer already
        # need not be.
        IFS=: read -ra layers <<<"$lower"
        for layer in "${layers[@]}"; do
          (cd "$layer" && find . -type d -print0 2>/dev/null) | (cd "$upper" && xargs -0 mkdir -p) || true
        done
        # Nor can a file be; those that installs edit in place are small and few.
        [[ $path == /etc ]] && cp -a --no-preserve=ownership "${lower##*:}/." "$upper/" 2>/dev/null || true
      fi
      chmod --reference="${lower##*:}" "$upper"
      mount -t overlay overlay -o "lowerdir=$lower,upperdir=$upper,workdir=$scratch/overlay$path$userns" \
        "$root$path" || fail "cannot mount an overlay of $lower on $path"
      ;;
    hide)
      IFS= read -r -d '' path
      mount -t tmpfs -o mode=755,nosuid,nodev tmpfs "$root$path" || fail "cannot hide $path"
      ;;
    ro|rw)
      IFS= read -r -d '' source; IFS= read -r -d '' path
      if [[ -d $source ]]; then
        mkdir -p "$root$path"
      else
        mkdir -p "$root${path%/*}"; [[ -e $root$path ]] || : >"$root$path"
      fi
      mount --bind "$source" "$root$path" || fail "cannot show $source at $path"
      if [[ $operation == ro ]]; then
        # In a user namespace the flags of the outer mount are locked and must be repeated.
        mount -o remount,bind,ro "$root$path" 2>/dev/null ||
          mount -o remount,bind,ro,nosuid,nodev "$root$path" || fail "cannot make $path read-only"
      fi
      ;;
    *) fail "unknown operation '$operation'" ;;
  esac
done <"$description"

mount -t proc -o nosuid,nodev,noexec proc "$root/proc" || fail "cannot mount /proc"
mount -t sysfs -o ro,nosuid,nodev,noexec sysfs "$root/sys" 2>/dev/null || true
mount -t tmpfs -o mode=755,nosuid,size=1m tmpfs "$root/dev" || fail "cannot mount /dev"
for node in null zero full random urandom tty; do
  : >"$root/dev/$node"
  mount --bind "/dev/$node" "$root/dev/$node" || fail "cannot show /dev/$node"
done
ln -s /proc/self/fd "$root/dev/fd"
ln -s /proc/self/fd/0 "$root/dev/stdin"
ln -s /proc/self/fd/1 "$root/dev/stdout"
ln -s /proc/self/fd/2 "$root/dev/stderr"
mkdir "$root/dev/shm" "$root/dev/pts"
mount -t tmpfs -o mode=1777,nosuid,nodev tmpfs "$root/dev/shm"
mount -t devpts -o newinstance,ptmxmode=0666,mode=620 devpts "$root/dev/pts" && ln -s pts/ptmx "$root/dev/ptmx"
hostname localhost 2>/dev/null || true

# The new root becomes the only one: what is not shown above cannot be reached, not even by user 0.
mount --rbind "$root" "$root"
cd "$root"
pivot_root . . || fail "cannot change the root"
umount -l . || fail "cannot leave the old root"
cd /
"$@"
