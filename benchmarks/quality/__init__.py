"""How well the lips convince: hidden parts of real clips, driven by their own speech, beside what the mouth did."""
