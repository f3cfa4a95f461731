// Package browser looks at Usher through Chromium, the way people do: admins in the console, invitees on their pages. Each
// page is looked at in light, dark and at 320 pixels, and checked with axe; nothing may turn up in the browser's console.
//
//	go test .                                  # in this folder
//	USHER_ARTEFACTS=/tmp/pages go test .       # keeps a picture of every page
//	go test -run TestPicturesOfTheREADME -update
//
// It has a module of its own, because a browser's driver is nothing the product or its other tests should have to build.
package browser
