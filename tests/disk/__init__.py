"""Tests of bangerbuild.disk, judged by e2fsprogs."""
