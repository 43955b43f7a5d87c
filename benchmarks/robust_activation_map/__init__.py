"""The measurements of "Robust Discriminative Localization Maps" (Prakash et al.) on chest X-rays."""
