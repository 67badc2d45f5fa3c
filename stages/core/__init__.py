"""The framework: config, stage, plan, fingerprint, store, writer, engine, catalog. It knows no stage by name."""
