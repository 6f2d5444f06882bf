package fill

const crashDirVar = "FILL_TEST_CRASH_DIR"

func crashingFill(dir string) {}
