"""Tests of bangerbuild.kernel: packed by the tools that pack real kernels, judged by binutils and dpkg."""
