"""The training workshop: backbones, adapters, the loop that trains them, and the encoder they become.

Every spec imports without torch; whatever needs it imports it inside the function that does.
"""
