# All images by one command, for several kinds of machine at once: ./just images says which words it takes.
# TAG, REGISTRY and PLATFORM come from the environment.

variable "TAG" {
  default = "dev"
}

variable "REGISTRY" {
  default = ""
}

# Kinds of machine, with commas between; none: this one's.
variable "PLATFORM" {
  default = ""
}

group "default" {
  targets = ["broker", "detector", "logger", "processor", "sample", "store"]
}

target "image" {
  name       = image
  matrix     = { image = ["broker", "detector", "logger", "processor", "sample", "store"] }
  target     = image
  dockerfile = "Dockerfile"
  platforms  = PLATFORM == "" ? null : split(",", PLATFORM)
  tags       = ["${REGISTRY == "" ? "" : "${REGISTRY}/"}facebridge/${image}:${TAG}"]
}
