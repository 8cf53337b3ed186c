package serve

import (
	"time"
)

const day = 24 * time.Hour
