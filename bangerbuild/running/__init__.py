"""VMs that run: how they are started, found again, waited for, logged in to and stopped.

A VM runs while a process holds its run lock, which the VMM inherits when it is started: so it does not matter
what becomes of the process that started it.

`kvm`, `run_directory`, `spawning` and `at_once` come to the start of the VMM where there is nothing to build.
Like the up-to-date check, they import as little as they can: less than 0.1 s may pass before that.
"""
