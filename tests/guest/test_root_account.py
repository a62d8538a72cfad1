"""Root's account: what we say of each image, and what a login to Debian's sshd in a chroot says."""

from __future__ import annotations

import subprocess
import tempfile
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from bangerbuild.declared import VM, InlineFile
from bangerbuild.guest.defaults import changes
from bangerbuild.guest.root_account import refusals
from tests.boot.debian import ROOTFS, tarball
from tests.guest.view import DictView
from tests.need import need

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from bangerbuild.guest.view import GuestView

CONFIG = "/etc/ssh/sshd_config"
NO_PROGRAM = "/usr/local/bin/no-program"
SHELLS = {"/bin/sh": 0o755, "/bin/bash": 0o755, "/usr/sbin/nologin": 0o755, NO_PROGRAM: 0o644}


@dataclass(frozen=True)
class Image:
    """What of an image decides whether root may log in."""

    pam: str = "UsePAM yes"
    passwd: str = "root:x:0:0:root:/root:/bin/bash"  # noqa: S105
    shadow: str = "root:*:19000:0:99999:7:::"

    def files(self) -> Mapping[str, str]:
        """By path."""
        return {
            CONFIG: f"PermitRootLogin yes\n{self.pam}\n",
            "/etc/passwd": f"{self.passwd}\nsshd:x:100:65534::/run/sshd:/usr/sbin/nologin\n",
            "/etc/shadow": f"{self.shadow}\nsshd:!:19000::::::\n",
        }

    def view(self) -> GuestView:
        """The same, as we read it."""
        files = {path: text.encode() for path, text in self.files().items()}
        return DictView({**files, **dict.fromkeys(SHELLS, b"#!")}, modes=SHELLS)


def with_shell(shell: str) -> Image:
    return Image(passwd=f"root:x:0:0:root:/root:{shell}")


IMAGES: Mapping[str, tuple[Image, str]] = {
    "Debian's own": (Image(), ""),
    "no shell, which is sh": (with_shell(""), ""),
    "a shell that is not there": (with_shell("/bin/zsh"), "'/bin/zsh' is not in the image"),
    "a shell that is no program": (with_shell(NO_PROGRAM), "is not executable"),
    "nologin": (with_shell("/usr/sbin/nologin"), "ends every login"),
    "locked, with PAM": (Image(shadow="root:!:19000:0:99999:7:::"), ""),
    "locked, without PAM": (Image("UsePAM no", shadow="root:!:19000:0:99999:7:::"), "begins with '!'"),
    "locked, and nothing is said of PAM": (Image("", shadow="root:!*:19000::::::"), "begins with '!'"),
    "locked, and the first line for PAM counts": (
        Image("UsePAM no\nUsePAM yes", shadow="root:!:19000::::::"),
        "begins with '!'",
    ),
    "no password, without PAM": (Image("UsePAM no", shadow="root:*:19000::::::"), ""),
    "locked in passwd, without shadow": (
        Image("UsePAM no", "root:!:0:0:root:/root:/bin/sh", "nobody:*:19000::::::"),
        "begins with '!'",
    ),
    "expired, with PAM": (Image(shadow="root:*:19000:0:99999:7::1:"), "has expired"),
    "expired, without PAM": (Image("UsePAM no", shadow="root:*:19000:0:99999:7::1:"), "has expired"),
    "a password that is due, with PAM": (Image(shadow="root:*:0:0:99999:7:::"), "must change its password"),
    "a password that is due, without PAM": (Image("UsePAM no", shadow="root:*:0:0:99999:7:::"), ""),
    "another name for root": (Image(passwd="admin:x:0:0:root:/root:/bin/sh"), "no user 'root'"),  # noqa: S106
}
"""Each with words of the warning; none: root gets in."""

TRY = """\
set -eu
mkdir -p /run/sshd
echo >/usr/local/bin/no-program
ssh-keygen -q -t ed25519 -N '' -f /tmp/key
mkdir -m 700 -p /root/.ssh
cp /tmp/key.pub /root/.ssh/authorized_keys
for image in /images/*; do
    cp -r "$image"/etc /
    chmod 600 /etc/shadow
    said=$(ssh -F /dev/null -i /tmp/key -o BatchMode=yes -o StrictHostKeyChecking=no -o LogLevel=ERROR \\
        -o "ProxyCommand /usr/sbin/sshd -i" root@image 'echo in' </dev/null 2>&1) || true
    echo "${image##*/}=$(echo "$said" | tail -n 1)"
done
"""


@pytest.fixture(scope="module")
def logins() -> Iterator[Mapping[str, str]]:
    """What a login to each image said last: `in`, or why not."""
    archive = tarball(ROOTFS)
    with tempfile.TemporaryDirectory(prefix="bangerbuild-sshd-") as directory:
        root = Path(directory)
        subprocess.run([need("tar"), "-xf", archive, "-C", root, "--exclude=./usr/share"], check=True)
        for number, (image, _) in enumerate(IMAGES.values()):
            for path, text in image.files().items():
                target = root / f"images/{number:02}{path}"
                target.parent.mkdir(parents=True, exist_ok=True)
                target.write_text(text)
        (root / "try").write_text(TRY)
        command = [need("chroot", "coreutils"), directory, "/bin/sh", "/try"]
        done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=300)
        assert done.returncode == 0, done.stdout + done.stderr
        said = dict(line.split("=", 1) for line in done.stdout.splitlines() if "=" in line)
        yield {name: said[f"{number:02}"] for number, name in enumerate(IMAGES)}


@pytest.mark.root
@pytest.mark.parametrize("name", IMAGES)
def test_a_warning_says_that_root_is_refused_exactly_where_sshd_refuses_it(
    logins: Mapping[str, str], name: str
) -> None:
    image, _ = IMAGES[name]
    assert (logins[name] == "in") == (not list(refusals(image.view(), ()))), logins[name]


@pytest.mark.parametrize("name", IMAGES)
def test_the_warning_says_what_is_wrong(name: str) -> None:
    image, words = IMAGES[name]
    warnings = list(refusals(image.view(), ()))
    assert len(warnings) == bool(words)
    assert all(words in one and one.startswith("ssh_authorized_keys") for one in warnings)


LOCKED = Image("UsePAM no", shadow="root:!:19000::::::")


@pytest.mark.parametrize(
    ("image", "declared"),
    [
        (with_shell("/bin/zsh"), "/bin/zsh"),
        (with_shell("/bin/zsh"), "/etc/passwd"),
        (LOCKED, "/etc/shadow"),
        (LOCKED, CONFIG),
    ],
)
def test_what_is_declared_counts_as_right(image: Image, declared: str) -> None:
    assert list(refusals(image.view(), ())) != []
    assert list(refusals(image.view(), {declared})) == []


def test_an_image_without_sshd_is_not_warned_of() -> None:
    assert list(refusals(DictView({"/etc/group": b""}), ())) == []


@pytest.mark.parametrize("has_keys", [True, False])
def test_a_patch_warns_of_it_only_if_keys_are_declared(*, has_keys: bool) -> None:
    vm = VM("web", "debian", "web", authorized_keys=("ssh-ed25519 AAAA me",) if has_keys else ())
    said = [one for one in changes(vm, with_shell("/bin/zsh").view()).warnings if "/bin/zsh" in one]
    assert len(said) == has_keys
    declared = replace(vm, files=(InlineFile("/bin/zsh", "#!"),))
    assert not [one for one in changes(declared, with_shell("/bin/zsh").view()).warnings if "zsh" in one]
