"""What studies conclude: runs read from tables, statistics over seeds, claims with verdicts, and the page that shows them."""
