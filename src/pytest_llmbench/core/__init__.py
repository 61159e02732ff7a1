"""What every room stands on: settings, records, documents, files, errors."""
