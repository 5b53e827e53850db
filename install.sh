#!/bin/sh
# Installs td-sync on this machine: builds (or unpacks) its three programs and hands over to td-sync-setup.
#
#   ./install.sh --local --yes      everything, without a question
#   ./install.sh --local            the same, asking what it would otherwise assume
#
# Options:
#   --local              set up a server on this machine (the only target so far, and the default)
#   --yes                ask nothing; install missing build tools from the distribution's packages
#   --prefix DIR         install the commands to DIR/bin instead of ~/.local/bin
#   --from DIR|URL       use the archive td-sync-TRIPLE.tar.gz (with .sha256 beside it) there instead of building;
#                        an archive next to this script is used by itself
#   --prerequisites      only check, or with --yes install, what the build needs
#   --help               this text
#   -- WORDS             everything behind goes to `td-sync-setup`: options of setup, or another verb (see its --help)
#
# Running it again changes nothing and says so. Killed anywhere: run it again.
# Exit codes are those of td-sync-setup: 0 done, 1 failed, 2 wrong usage or missing answers, 7 refused.
set -eu

# Everything is in functions and called at the end, so that half a download does nothing at all.

say() { printf '%s\n' "$*"; }
# Beside the answer of a verb, which may be JSON.
step() { printf '==> %s\n' "$*" >&2; }
fail() { # CODE TRIED MEANS DO...
    code=$1 && shift
    { printf 'install.sh: %s\n  what it means: %s\n' "$1" "$2" && shift 2
      printf '  what to do: %s\n' "$1" && shift
      for line; do printf '      %s\n' "$line"; done
      printf '  then run this again; it continues.\n'; } >&2
    exit "$code"
}
have() { command -v "$1" >/dev/null 2>&1; }
usage() {
    [ -f "$here/install.sh" ] || { say "Read the first lines of install.sh."; return; }
    sed -n '2,19s/^# \{0,1\}//p' "$here/install.sh"
}

# As a word that a shell reads back.
quoted() {
    case "$1" in
        '' | *[!A-Za-z0-9_./:=@%+,-]*) printf "'%s'" "$(printf '%s' "$1" | sed "s/'/'\\\\''/g")" ;;
        *) printf '%s' "$1" ;;
    esac
}

# Makes a folder that only this user can read and says its name. Without one nothing may go on: names put together with an
# empty one would be those of the root folder.
scratch_folder() {
    mktemp -d 2>/dev/null || fail 7 "no temporary folder can be made in ${TMPDIR:-/tmp}" "nothing was changed" \
        "name a folder that exists and can be written" "TMPDIR=\$HOME $called$given"
}

parse() {
    yes=0 prefix='' from='' only_prerequisites=0 given=''
    while [ $# -gt 0 ]; do
        case "$1" in
            --local) ;;
            --yes | -y) yes=1 given="$given --yes" ;;
            --prefix) prefix=${2-}; [ -n "$prefix" ] || wrong "--prefix needs a folder"; shift ;;
            --prefix=*) prefix=${1#*=}; [ -n "$prefix" ] || wrong "--prefix needs a folder" ;;
            --from) from=${2-}; [ -n "$from" ] || wrong "--from needs a folder or an address"; shift ;;
            --from=*) from=${1#*=}; [ -n "$from" ] || wrong "--from needs a folder or an address" ;;
            --prerequisites) only_prerequisites=1 ;;
            --help | -h) usage; exit 0 ;;
            --) shift; break ;;
            *) wrong "unknown option $1" ;;
        esac
        shift
    done
    if [ -n "$from" ] && [ $only_prerequisites = 1 ]; then
        wrong "--from needs no build tools, so it contradicts --prerequisites"
    fi
    case "$prefix" in
        '' | /*) ;;
        *) prefix=$PWD/$prefix ;;
    esac
    [ -z "$from" ] || given="$given --from $(quoted "$from")"
    [ -z "$prefix" ] || given="$given --prefix $(quoted "$prefix")"
    rest=$#
}
wrong() { printf 'install.sh: %s (see ./install.sh --help)\n' "$1" >&2; exit 2; }

machine() {
    case "$(uname -m)" in
        x86_64 | amd64) arch=x86_64 ;;
        aarch64 | arm64) arch=aarch64 ;;
        *) fail 7 "this machine is a $(uname -m)" "td-sync is built for x86_64 and aarch64" "use another machine" ;;
    esac
    case "$(uname -s)" in
        Linux) triple=$arch-unknown-linux-gnu ;;
        Darwin) triple=$arch-apple-darwin ;;
        *) fail 7 "this system is $(uname -s)" "td-sync runs on Linux and macOS" "use another machine" ;;
    esac
}

# --- a prebuilt archive -----------------------------------------------------------------------------------------------

digest() {
    if have sha256sum; then sha256sum <"$1"; else shasum -a 256 <"$1"; fi | cut -d ' ' -f 1
}

needs() { # PROGRAM...
    for program; do
        have "$program" || fail 7 "there is no $program here" "the archive cannot be unpacked; nothing was changed" \
            "install it from your distribution's packages"
    done
}

fetch() { # ADDRESS FILE
    # What was asked for over https may not be handed on to something weaker.
    if have curl; then curl -fsSL --proto-redir =https --retry 3 --connect-timeout 20 -o "$2" "$1"
    elif have wget; then wget -q -T 20 -O "$2" "$1"
    else fail 7 "neither curl nor wget is here" "nothing can be downloaded" "install one of them" \
        "apt-get install -y curl ca-certificates"; fi
}

full() { # FOLDER: whether its disk has no room left (less than a megabyte)
    free=$(df -Pk "$1" 2>/dev/null | awk 'NR == 2 {print $4}')
    [ "${free:-9999}" -lt 1024 ]
}

no_room() { # TRIED
    fail 1 "$1: the disk of $scratch is full" "nothing was changed" \
        "make room there, or name another folder for what is temporary" "df -h ${TMPDIR:-/tmp}" "TMPDIR=\$HOME $called$given"
}

unpack() { # from $from to $bin, which is gone again when this script ends
    needs tar gzip
    have sha256sum || needs shasum
    archive=td-sync-$triple.tar.gz
    scratch=$(scratch_folder)
    trap 'rm -rf "$scratch"' EXIT
    trap 'exit 8' INT TERM
    case "$from" in
        https://* | http://127.0.0.1[:/]* | http://localhost[:/]*)
            step "Downloading $archive from $from"
            for file in "$archive" "$archive.sha256"; do
                fetch "${from%/}/$file" "$scratch/$file" || {
                    if full "$scratch"; then no_room "$file could not be stored"; fi
                    fail 1 "${from%/}/$file could not be downloaded" "nothing was changed" "check the address"
                }
            done ;;
        http://*) wrong "--from takes https://, because the digest comes the same way as the archive" ;;
        *://*) wrong "--from takes a folder or an address that begins with https://, not $from" ;;
        *)
            for file in "$archive" "$archive.sha256"; do
                [ -f "$from/$file" ] ||
                    fail 7 "$from/$file is missing" "an archive is used only with its SHA-256 beside it" "put both there"
                # A copy of our own: what is compared below is what is unpacked, whoever else can write in that folder.
                cp "$from/$file" "$scratch/$file" || {
                    if full "$scratch"; then no_room "$file could not be copied"; fi
                    fail 1 "$from/$file could not be copied" "nothing was changed" "see that it can be read" \
                        "ls -l $(quoted "$from")"
                }
            done ;;
    esac
    wanted=$(head -n 1 "$scratch/$archive.sha256" | cut -d ' ' -f 1 | tr -d '\r' | tr A-F a-f)
    case "$wanted" in
        *[!0-9a-f]* | '') wanted= ;;
    esac
    [ ${#wanted} = 64 ] || fail 7 "$archive.sha256 holds no SHA-256" \
        "it is damaged or not the one that was published; the archive was not used" "download both again"
    got=$(digest "$scratch/$archive")
    [ "$got" = "$wanted" ] || fail 7 "$archive has SHA-256 $got instead of $wanted" \
        "it is damaged or not the one that was published; it was not used" "download it again"
    step "Unpacking $archive"
    bin=$scratch/bin
    mkdir "$bin"
    # -o: the files are ours, whoever packed them.
    said=$(tar -xozf "$scratch/$archive" -C "$bin" 2>&1) || {
        if full "$scratch"; then no_room "$archive could not be unpacked"; fi
        fail 7 "$archive could not be unpacked (tar: $(printf '%s' "$said" | tail -n 1))" \
            "it was published like that, for its SHA-256 is right; nothing was changed" "take another version"
    }
    for program in td-sync td-sync-setup td; do
        if [ ! -f "$bin/$program" ] || [ -L "$bin/$program" ]; then
            fail 7 "$archive has no $program" "it is not one of ours; nothing was changed" "download it again"
        fi
    done
    runs "$bin/td-sync-setup"
}

runs() { # PROGRAM
    code=0
    said=$("$1" --version 2>&1) || code=$?
    [ $code = 0 ] || fail 7 "$1 cannot be run here ($(printf '%s' "$said" | tail -n 1))" \
        "its folder does not allow programs (noexec), or it was built for another kind of machine; nothing was changed" \
        "name a folder where programs may run" "TMPDIR=\$HOME $called$given"
}

# --- what a build needs -----------------------------------------------------------------------------------------------

compiler_works() {
    have cc || return 1
    try=$(scratch_folder) || exit $?
    printf 'int main(void) { return 0; }\n' >"$try/try.c"
    static=-static
    [ "$(uname -s)" = Linux ] || static=
    # shellcheck disable=SC2086 # no word at all where it is empty
    if cc $static -o "$try/try" "$try/try.c" 2>/dev/null && "$try/try"; then ok=0; else ok=1; fi
    rm -rf "$try"
    return $ok
}

packages() { # PACKAGE...
    if have apt-get; then install_line="apt-get install -y --no-install-recommends $*"
    elif have dnf; then install_line="dnf install -y gcc glibc-static curl ca-certificates"
    elif have pacman; then install_line="pacman -S --needed --noconfirm gcc curl"
    elif [ "$(uname -s)" = Darwin ]; then install_line="xcode-select --install"
    else install_line="install a C compiler, the static C library and curl"; fi
    root=
    if [ "$(id -u)" != 0 ]; then
        root='sudo '
        if [ $yes = 0 ] || ! have sudo || ! sudo -n true 2>/dev/null; then missing "$root$install_line" "$*"; fi
    fi
    if [ $yes = 0 ] || ! have apt-get; then missing "$root$install_line" "$*"; fi
    step "Installing from the distribution's packages: $*"
    # Lists may be absent (a fresh image) or old; a busy package manager is waited for, by name, for two minutes.
    # shellcheck disable=SC2086 # $root and the package names are lists of plain words
    if ! ${root}env DEBIAN_FRONTEND=noninteractive $install_line -o DPkg::Lock::Timeout=120 >/dev/null 2>&1; then
        ${root}apt-get -o DPkg::Lock::Timeout=120 update >/dev/null || missing "$root$install_line" "$*"
        ${root}env DEBIAN_FRONTEND=noninteractive $install_line -o DPkg::Lock::Timeout=120 >/dev/null ||
            missing "$root$install_line" "$*"
    fi
}
missing() { # COMMAND WHAT
    fail 7 "the build needs: $2" "nothing was changed" "install it with this one command (or run with --yes as root)" "$1"
}

# The version of rust-toolchain.toml, e.g. 1.95.0.
wanted_rust() { sed -n 's/^channel = "\(.*\)"/\1/p' "$here/rust-toolchain.toml"; }

rust_is_new_enough() { # a cargo without rustup has to be at least as new as the pinned one
    have cargo && have rustc || return 1
    newer=$(printf '%s\n%s\n' "$(wanted_rust)" "$(rustc --version | cut -d ' ' -f 2)" | sort -t . -k 1,1n -k 2,2n -k 3,3n | head -n 1)
    [ "$newer" = "$(wanted_rust)" ]
}

rustup_digest() {
    case "$triple" in
        x86_64-unknown-linux-gnu) echo 20a06e644b0d9bd2fbdbfd52d42540bdde820ea7df86e92e533c073da0cdd43c ;;
        aarch64-unknown-linux-gnu) echo e3853c5a252fca15252d07cb23a1bdd9377a8c6f3efa01531109281ae47f841c ;;
        x86_64-apple-darwin) echo 9c331076f62b4d0edeae63d9d1c9442d5fe39b37b05025ec8d41c5ed35486496 ;;
        aarch64-apple-darwin) echo 20ef5516c31b1ac2290084199ba77dbbcaa1406c45c1d978ca68558ef5964ef5 ;;
    esac
}

rust() {
    PATH=${CARGO_HOME:-$HOME/.cargo}/bin:$PATH
    if have rustup; then
        # Fetches the pinned toolchain if it is not there yet.
        (cd "$here" && rustc --version >/dev/null 2>&1) || {
            step "Fetching Rust $(wanted_rust) with rustup"
            (cd "$here" && rustup toolchain install "$(wanted_rust)" --profile minimal --no-self-update) ||
                fail 1 "rustup could not fetch Rust $(wanted_rust)" "the programs cannot be built" "check the network" \
                    "rustup toolchain install $(wanted_rust)"
        }
        return 0
    fi
    if rust_is_new_enough; then return 0; fi
    address=https://static.rust-lang.org/rustup/archive/1.28.2/$triple/rustup-init
    [ $yes = 1 ] || fail 7 "Rust $(wanted_rust) or newer is not here" "nothing was changed" \
        "install it with rustup (https://rustup.rs), or let this script do it" "$0 --prerequisites --yes"
    if ! have curl && ! have wget; then packages curl ca-certificates; fi
    step "Installing Rust $(wanted_rust) with rustup into ${CARGO_HOME:-$HOME/.cargo}"
    rustup=$(scratch_folder)
    fetch "$address" "$rustup/rustup-init" ||
        fail 1 "$address could not be downloaded" "the programs cannot be built without Rust" "check the network"
    [ "$(digest "$rustup/rustup-init")" = "$(rustup_digest)" ] ||
        fail 7 "rustup-init is not the one that this script knows" "it was not run" "install Rust from https://rustup.rs"
    chmod +x "$rustup/rustup-init"
    "$rustup/rustup-init" -y --no-modify-path --profile minimal --default-toolchain "$(wanted_rust)" >/dev/null 2>&1 ||
        fail 1 "rustup could not install Rust $(wanted_rust)" "the programs cannot be built" "see https://rustup.rs"
    rm -rf "$rustup"
}

prerequisites() {
    step "Checking what the build needs"
    compiler_works || packages gcc libc6-dev
    compiler_works || fail 7 "cc cannot link a static program" "the programs would not be self-contained" \
        "install the static C library of your distribution"
    rust
}

build() {
    target=${CARGO_TARGET_DIR:-$here/target}
    case "$target" in /*) ;; *) target=$PWD/$target ;; esac
    bin=$target/$triple/release
    static=
    [ "$(uname -s)" != Linux ] || static='-C target-feature=+crt-static --cfg getrandom_backend="linux_getrandom"'
    if [ -x "$bin/td-sync-setup" ]; then step "Checking that the programs are up to date"
    else step "Building the programs (the first time takes a few minutes)"; fi
    (cd "$here" && RUSTFLAGS=$static CARGO_TARGET_DIR=$target cargo build --release --locked --target "$triple" \
        -p td-server -p td-client -p td-installer) ||
        {
            if full "$target"; then
                fail 1 "the build failed: the disk of $target is full" "nothing was installed" "make room there" \
                    "df -h $(quoted "$target")"
            fi
            fail 1 "the build failed" "its last lines above say why; nothing was installed" "correct that"
        }
}

main() {
    here=$(CDPATH='' cd -- "$(dirname -- "$0")" && pwd)
    case "$0" in
        */*) called=$(quoted "$0") ;;
        *) called="sh $(quoted "$0")" ;;
    esac
    parse "$@"
    # The words behind `--` are the last $rest ones.
    shift $(($# - rest))
    machine
    case "${HOME:-}" in
        /*) ;;
        '') fail 2 "HOME is not set" "nothing says where to install" "set it to your home folder" "HOME=/home/you $called" ;;
        *) fail 2 "HOME is $HOME, which is no full path" "nothing says where to install" "set it to your home folder" \
            "HOME=/home/you $called" ;;
    esac
    if [ $only_prerequisites = 1 ]; then prerequisites; say "Everything the build needs is here."; exit 0; fi
    if [ -z "$from" ] && [ -f "$here/td-sync-$triple.tar.gz" ]; then from=$here; fi
    if [ -n "$from" ]; then unpack
    # Two files of ours: any other project may have a Cargo.toml, and building it would run its code.
    elif [ -f "$here/rust-toolchain.toml" ] && [ -f "$here/installer/Cargo.toml" ]; then prerequisites; build
    else fail 7 "there is neither an archive nor the source next to this script" "there is nothing to install" \
        "use --from DIR or --from URL"; fi
    case "${1-}" in
        '' | -*) verb=setup ;;
        *) verb=$1; shift ;;
    esac
    if [ "$verb" = setup ]; then
        [ -z "$prefix" ] || set -- --prefix "$prefix" "$@"
        [ $yes = 0 ] || set -- --yes "$@"
        set -- --target local "$@"
        step "Setting up"
    fi
    # Before anything is installed this is how td-sync-setup can be called; what was unpacked is gone in a moment.
    code=0
    TD_SETUP_CALLED_AS="$called$given" "$bin/td-sync-setup" "$verb" "$@" || code=$?
    exit $code
}

main "$@"
