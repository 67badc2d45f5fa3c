"""How and when pipelines run: Prefect flows, schedules and the command line. Nothing here computes."""
