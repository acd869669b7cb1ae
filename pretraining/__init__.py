"""Documents -> sentence pairs -> masked records; the pre-training objective."""
