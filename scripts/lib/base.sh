# Sourced by the scripts beside this folder: the image that those of examples/dev-stack are built on.

BASE=dev-stack/base

# Makes the image of the archive that `scripts/images base` has printed, unless it is here; `compose` is a command.
import_base() {
    local revision
    revision=$(basename "$1" .tar)
    # The image carries the name of its archive, which changes with its content.
    ! compose image inspect "$BASE" 2> /dev/null | grep -q "\"$revision\"" || return 0
    compose image import --change "LABEL org.opencontainers.image.revision=$revision" \
        --change "ENV PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin" --change 'CMD ["bash"]' "$1" "$BASE"
}
