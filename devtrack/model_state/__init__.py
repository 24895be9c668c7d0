"""The module without a trace: private copies, isolation, snapshots, the fidelity check."""
