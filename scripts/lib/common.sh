# Sourced by the scripts beside this folder: messages, and what a machine must have.

# At a fixed address nothing has to be relocated: 100 pages less are copied at each start. Heap, stack and mappings still lie
# where the kernel puts them.
RELEASE_FLAGS=(-C target-feature=+crt-static -C relocation-model=static)

# Runs cargo with these flags, and those before `--`, for the release binary; with --target they are for the program only: procedural
# macros are libraries of the compiler and cannot have them.
release_cargo() {
    local flags=("${RELEASE_FLAGS[@]}") command
    while [[ $1 != -- ]]; do
        flags+=("$1")
        shift
    done
    command=$2
    shift 2
    CARGO_ENCODED_RUSTFLAGS=$(IFS=$'\x1f'; printf '%s' "${flags[*]}") \
        cargo "$command" --release --locked --package compose --bin compose --target "$(rustc -vV | sed -n 's/^host: //p')" "$@" >&2
}

say() { printf '%s\n' "$*" >&2; }
die() { say "error: $*"; exit 1; }

# Runs a command with a line that says what it is and how long it took; its output goes to a log that is shown on failure.
step() {
    local what=$1 log started=$SECONDS
    shift
    log=$(mktemp)
    printf '%s ...\n' "$what" >&2
    if "$@" > "$log" 2>&1; then
        printf '%s: done in %s s\n' "$what" $((SECONDS - started)) >&2
        rm -f "$log"
    else
        local code=$?
        tail -n 40 "$log" >&2
        say "error: $what failed; the whole log is $log"
        return $code
    fi
}

need_root() {
    [[ $(id -u) == 0 ]] || die "$0 needs root (it mounts and makes name spaces): run it as 'sudo -E $0'"
}

# Installs those of the named packages that are missing, and says which.
need_packages() {
    local missing=() package
    for package in "$@"; do
        dpkg-query -W -f '${db:Status-Status}' "$package" 2> /dev/null | grep -qx installed || missing+=("$package")
    done
    ((${#missing[@]})) || return 0
    [[ $(id -u) == 0 ]] || die "missing packages: ${missing[*]} (run 'sudo apt-get install ${missing[*]}')"
    say "installing by apt: ${missing[*]}"
    step "apt-get update" apt-get update
    step "apt-get install" env DEBIAN_FRONTEND=noninteractive \
        apt-get install --yes --no-install-recommends "${missing[@]}"
}
