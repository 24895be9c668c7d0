"""The batches that everything is measured on."""
