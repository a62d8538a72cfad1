from __future__ import annotations

import pytest

from bangerbuild.disk.attachment import VMM_NAMES, Attachment, Drive
from bangerbuild.launch.vmms import VMMS


def test_a_format_can_name_the_vmms_that_there_are_and_no_others() -> None:
    assert tuple(vmm.name for vmm in VMMS) == VMM_NAMES
    Attachment((Drive("root", options={name: {"a": "b"} for name in VMM_NAMES}),), refusals={"qemu": "why"})
    with pytest.raises(ValueError, match="no VMM is called 'firecraker'"):
        Attachment((Drive("root"),), refusals={"firecraker": "it plays no games"})
    with pytest.raises(ValueError, match="no VMM is called 'cloud_hypervisor'"):
        Drive("root", options={"cloud_hypervisor": {"backing_files": "on"}})
