"""The model in this process: decoding, sampling, calibration."""
