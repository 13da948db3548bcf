"""The topics of the course in lecture order, each by the name that it has in every wing."""

TOPICS = (
    "inversion",
    "texture",
    "gatys",
    "fast_style",
    "wct",
    "dfi",
    "dcgan",
    "wgan",
    "cgan",
    "pix2pix",
    "cyclegan",
    "progan",
    "stylegan2",
    "spade",
)
