"""Commands that are about a config. None but `herd config show` looks at a herd, and none changes one."""
