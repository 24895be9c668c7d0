"""The weights, without a trace: private copies, isolation, snapshots."""
