"""Celery only: the app, and tasks of about ten lines that each call one function of kubeprobe.

Nothing in kubeprobe imports this. Tasks carry ids; what they mean is in the store.
"""
