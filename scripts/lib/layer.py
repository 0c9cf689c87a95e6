#!/usr/bin/env python3
"""Packs image layers and OCI archives, with nothing but the standard library.

    layer.py tar DIRECTORY LAYER.tar
        packs a root file system, or the upper directory of an overlay (deletions become whiteouts)
    layer.py archive ARCHIVE.tar BASE.tar NAME CONFIG.json LAYER.tar [NAME CONFIG.json LAYER.tar ...]
        one OCI image layout with an image per name, of two layers each; the name of the archive is a label of all

Source: OCI image specification 1.1, layer.md (whiteouts), image-layout.md, annotations.md.
"""

import hashlib
import io
import json
import os
import stat
import sys
import tarfile
import time

MEDIA = "application/vnd.oci.image"
# One time for all files: the same packages make the same layer.
EPOCH = 1700000000


def tar(directory, target):
    with tarfile.open(target + ".part", "w", format=tarfile.PAX_FORMAT) as out:
        links = {}
        for parent, folders, files in os.walk(directory):
            folders.sort()
            within = os.path.relpath(parent, directory)
            for name in sorted(folders + files):
                add(out, os.path.join(parent, name), os.path.normpath(os.path.join(within, name)), links)
    sync(target + ".part")
    os.rename(target + ".part", target)


def add(out, path, name, links):
    found = os.lstat(path)
    if stat.S_ISCHR(found.st_mode) and found.st_rdev == 0:
        return whiteout(out, os.path.join(os.path.dirname(name), ".wh." + os.path.basename(name)))
    if stat.S_ISSOCK(found.st_mode):
        return
    info = out.gettarinfo(path, name)
    info.mtime, info.uname, info.gname = EPOCH, "", ""
    if info.islnk() or (info.isreg() and found.st_nlink > 1):
        # Which name of a hard link comes first is decided here, for all of them.
        first = links.setdefault(found.st_ino, name)
        info.type, info.linkname = (tarfile.REGTYPE, "") if first == name else (tarfile.LNKTYPE, first)
        info.size = found.st_size if first == name else 0
    if not info.issym() and not info.islnk():
        for key in os.listxattr(path):
            if key == "security.capability" or key.startswith("user."):
                value = os.getxattr(path, key).decode("utf-8", "surrogateescape")
                info.pax_headers["SCHILY.xattr." + key] = value
    if info.isreg():
        with open(path, "rb") as content:
            out.addfile(info, content)
    else:
        out.addfile(info)
    if info.isdir() and "trusted.overlay.opaque" in os.listxattr(path):
        whiteout(out, name + "/.wh..wh..opq")


def whiteout(out, name):
    info = tarfile.TarInfo(name)
    info.mtime, info.mode = EPOCH, 0o644
    out.addfile(info)


def sync(path):
    with open(path, "rb") as written:
        os.fsync(written.fileno())


def digest(path):
    found = hashlib.sha256()
    with open(path, "rb") as content:
        while part := content.read(1 << 20):
            found.update(part)
    return "sha256:" + found.hexdigest()


class Archive:
    """An OCI image layout that is written straight into a tar."""

    def __init__(self, out):
        self.out = out
        self.known = set()

    def file(self, name, content):
        info = tarfile.TarInfo(name)
        info.size, info.mtime = len(content), EPOCH
        self.out.addfile(info, io.BytesIO(content))

    def blob(self, kind, content):
        found = "sha256:" + hashlib.sha256(content).hexdigest()
        if found not in self.known:
            self.known.add(found)
            self.file("blobs/" + found.replace(":", "/"), content)
        return {"mediaType": f"{MEDIA}.{kind}", "digest": found, "size": len(content)}

    def layer(self, path):
        found = digest(path)
        if found not in self.known:
            self.known.add(found)
            info = tarfile.TarInfo("blobs/" + found.replace(":", "/"))
            info.size, info.mtime = os.path.getsize(path), EPOCH
            with open(path, "rb") as content:
                self.out.addfile(info, content)
        return {"mediaType": f"{MEDIA}.layer.v1.tar", "digest": found, "size": os.path.getsize(path)}

    def image(self, name, config, layers):
        descriptors = [self.layer(path) for path in layers]
        content = {
            "created": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(os.path.getmtime(layers[-1]))),
            "architecture": {"x86_64": "amd64", "aarch64": "arm64"}.get(os.uname().machine, os.uname().machine),
            "os": "linux",
            "config": config,
            # The layers are not compressed, so their digests are those of their content.
            "rootfs": {"type": "layers", "diff_ids": [one["digest"] for one in descriptors]},
        }
        manifest = {
            "schemaVersion": 2,
            "mediaType": f"{MEDIA}.manifest.v1+json",
            "config": self.blob("config.v1+json", json.dumps(content).encode()),
            "layers": descriptors,
        }
        found = self.blob("manifest.v1+json", json.dumps(manifest).encode())
        found["annotations"] = {
            "io.containerd.image.name": "docker.io/" + name,
            "org.opencontainers.image.ref.name": name,
        }
        return found


def archive(target, base, *images):
    with tarfile.open(target + ".part", "w", format=tarfile.PAX_FORMAT) as out:
        layout = Archive(out)
        label = {"org.opencontainers.image.revision": os.path.basename(target).removesuffix(".tar")}
        layout.file("oci-layout", b'{"imageLayoutVersion": "1.0.0"}')
        manifests = []
        for name, config, layer in zip(images[::3], images[1::3], images[2::3]):
            with open(config, encoding="utf-8") as text:
                manifests.append(layout.image(name, json.load(text) | {"Labels": label}, [base, layer]))
        index = {"schemaVersion": 2, "mediaType": f"{MEDIA}.index.v1+json", "manifests": manifests}
        layout.file("index.json", json.dumps(index).encode())
    sync(target + ".part")
    os.rename(target + ".part", target)


if __name__ == "__main__":
    {"tar": tar, "archive": archive}[sys.argv[1]](*sys.argv[2:])
