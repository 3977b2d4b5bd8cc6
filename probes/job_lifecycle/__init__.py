"""Black-box probe: a Job completes and is deleted by its TTL, a CronJob creates its Job in time, deletion cascades."""
