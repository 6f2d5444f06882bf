package client

import (
	"encoding/base64"
	"errors"
	"fmt"
	"strings"
)

// objectName is what everything made for a cluster is called there.
const objectName = "registry-cache"

type object struct {
	APIVersion string   `yaml:"apiVersion"`
	Kind       string   `yaml:"kind"`
	Metadata   metadata `yaml:"metadata"`
}

type metadata struct {
	Name      string            `yaml:"name"`
	Namespace string            `yaml:"namespace,omitempty"`
	Labels    map[string]string `yaml:"labels,omitempty"`
}

// mirrorSet is an entry of the three kinds of mirror sets.
type mirrorSet struct {
	Source  string   `yaml:"source"`
	Mirrors []string `yaml:"mirrors"`
}

// ICSP makes an ImageContentSourcePolicy, for OpenShift before 4.13.
func ICSP(c Cache) ([]File, error) {
	sets, err := c.mirrorSets()
	if err != nil {
		return nil, err
	}
	return one(yamlFile("icsp.yaml", digestsOnly+"OpenShift 4.13 and later have the ImageDigestMirrorSet: client-config idms.\n", struct {
		object `yaml:",inline"`
		Spec   any `yaml:"spec"`
	}{
		object{"operator.openshift.io/v1alpha1", "ImageContentSourcePolicy", metadata{Name: objectName}},
		map[string]any{"repositoryDigestMirrors": sets},
	}))
}

// IDMS makes an ImageDigestMirrorSet, for OpenShift from 4.13 on.
func IDMS(c Cache) ([]File, error) {
	sets, err := c.mirrorSets()
	if err != nil {
		return nil, err
	}
	return one(yamlFile("idms.yaml", digestsOnly+"For tags there is the ImageTagMirrorSet: client-config itms.\n", struct {
		object `yaml:",inline"`
		Spec   any `yaml:"spec"`
	}{
		object{"config.openshift.io/v1", "ImageDigestMirrorSet", metadata{Name: objectName}},
		map[string]any{"imageDigestMirrors": sets},
	}))
}

// ITMS makes an ImageTagMirrorSet, for OpenShift from 4.13 on.
func ITMS(c Cache) ([]File, error) {
	sets, err := c.mirrorSets()
	if err != nil {
		return nil, err
	}
	return one(yamlFile("itms.yaml", "Images pulled by tag come through the cache.\n", struct {
		object `yaml:",inline"`
		Spec   any `yaml:"spec"`
	}{
		object{"config.openshift.io/v1", "ImageTagMirrorSet", metadata{Name: objectName}},
		map[string]any{"imageTagMirrors": sets},
	}))
}

const digestsOnly = "Images pulled by digest come through the cache, as all of OpenShift's own are.\n"

func (c Cache) mirrorSets() ([]mirrorSet, error) {
	if c.Insecure() {
		return nil, errors.New("mirror sets of OpenShift can't say that a mirror is not verified: " +
			"give the cache a certificate and the cluster its CA (client-config ca), or use client-config machineconfig --insecure")
	}
	if err := c.needsDNSName(); err != nil {
		return nil, err
	}
	var sets []mirrorSet
	for _, u := range c.Upstreams {
		sets = append(sets, mirrorSet{u.Name, []string{c.mirror(u)}})
	}
	return sets, nil
}

// needsDNSName refuses what containers/image does not parse as a registry, for
// which it would refuse each pull instead of going on to the upstream, and what
// the keys of a ConfigMap leave no place for.
func (c Cache) needsDNSName() error {
	if strings.HasPrefix(c.Host, "[") {
		return fmt.Errorf("podman, CRI-O and OpenShift take no IPv6 address for a mirror; give %s a name", c.Host)
	}
	return nil
}

// MachineConfig makes one MachineConfig for workers and one for masters, which
// write the drop-in for registries.conf on every node. Unlike mirror sets they
// reboot the nodes, one after the other.
func MachineConfig(c Cache) ([]File, error) {
	conf, err := dropIn(c)
	if err != nil {
		return nil, err
	}
	var files []File
	for _, role := range []string{"worker", "master"} {
		f, err := yamlFile(role+".yaml", "Images pulled by tag and by digest come through the cache.\n", machineConfig{
			object: object{"machineconfiguration.openshift.io/v1", "MachineConfig", metadata{
				Name:   "99-" + role + "-" + objectName,
				Labels: map[string]string{"machineconfiguration.openshift.io/role": role},
			}},
			Spec: machineConfigSpec{Config: ignition{
				Ignition: ignitionVersion{"3.2.0"},
				Storage: ignitionStorage{[]ignitionFile{{
					Path: dropInPlace, Mode: 0o644, Overwrite: true,
					Contents: ignitionContents{"data:text/plain;charset=utf-8;base64," + base64.StdEncoding.EncodeToString(conf.Content)},
				}}},
			}},
		})
		if err != nil {
			return nil, err
		}
		files = append(files, f)
	}
	return files, nil
}

type machineConfig struct {
	object `yaml:",inline"`
	Spec   machineConfigSpec `yaml:"spec"`
}

type machineConfigSpec struct {
	Config ignition `yaml:"config"`
}

// ignition is what is needed of the Ignition specification 3.2.0.
type ignition struct {
	Ignition ignitionVersion `yaml:"ignition"`
	Storage  ignitionStorage `yaml:"storage"`
}

type ignitionVersion struct {
	Version string `yaml:"version"`
}

type ignitionStorage struct {
	Files []ignitionFile `yaml:"files"`
}

type ignitionFile struct {
	Path      string           `yaml:"path"`
	Mode      int              `yaml:"mode"` // decimal, since JSON has no octal
	Overwrite bool             `yaml:"overwrite"`
	Contents  ignitionContents `yaml:"contents"`
}

type ignitionContents struct {
	Source string `yaml:"source"`
}

func one(f File, err error) ([]File, error) {
	if err != nil {
		return nil, err
	}
	return []File{f}, nil
}
