"""Several machines on one: fake hosts with ssh and logical GPUs, real Ray over `ray up`, real engines over hosts."""
