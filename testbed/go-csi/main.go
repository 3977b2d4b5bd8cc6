// A CSI driver whose volumes are directories of the node: enough for real claims, mounts and expansions.
//
// It is started twice, as drivers are: once for the controller, to which the official provisioner and resizer
// beside it talk, and once for the node, where it registers itself with the kubelet (what
// node-driver-registrar does elsewhere).
package main

import (
	"context"
	"flag"
	"log"
	"net"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"

	"github.com/container-storage-interface/spec/lib/go/csi"
	"golang.org/x/sys/unix"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/types/known/wrapperspb"
	registration "k8s.io/kubelet/pkg/apis/pluginregistration/v1"
)

const version = "1.0.0"

type driver struct {
	csi.UnimplementedIdentityServer
	csi.UnimplementedControllerServer
	csi.UnimplementedNodeServer

	name, node, root, socket string
	// capacity is how many bytes all volumes together may claim.
	capacity int64
	lock     sync.Mutex
}

func main() {
	d := &driver{}
	flag.StringVar(&d.name, "name", "directory.csi.kubeprobe.io", "the driver's name, as in StorageClass.provisioner")
	flag.StringVar(&d.node, "node", "", "the node's name")
	flag.StringVar(&d.root, "root", "", "directory of the volumes")
	flag.StringVar(&d.socket, "socket", "", "where CSI is served")
	flag.Int64Var(&d.capacity, "capacity", 10<<30, "bytes that all volumes together may claim")
	registrationDir := flag.String("registration", "", "the kubelet's plugins_registry; none for the controller's process")
	flag.Parse()
	if err := os.MkdirAll(d.root, 0o755); err != nil {
		log.Fatal(err)
	}
	server := grpc.NewServer()
	csi.RegisterIdentityServer(server, d)
	csi.RegisterControllerServer(server, d)
	csi.RegisterNodeServer(server, d)
	if *registrationDir == "" {
		serve(server, d.socket)
	}
	go serve(server, d.socket)
	registering := grpc.NewServer()
	registration.RegisterRegistrationServer(registering, &registrar{driver: d})
	serve(registering, filepath.Join(*registrationDir, d.name+"-reg.sock"))
}

func serve(server *grpc.Server, socket string) {
	if err := os.MkdirAll(filepath.Dir(socket), 0o755); err != nil {
		log.Fatal(err)
	}
	if err := os.Remove(socket); err != nil && !os.IsNotExist(err) {
		log.Fatal(err)
	}
	listener, err := net.Listen("unix", socket)
	if err != nil {
		log.Fatal(err)
	}
	log.Fatal(server.Serve(listener))
}

// registrar tells the kubelet where the driver is.
type registrar struct {
	registration.UnsafeRegistrationServer
	driver *driver
}

func (r *registrar) GetInfo(context.Context, *registration.InfoRequest) (*registration.PluginInfo, error) {
	return &registration.PluginInfo{
		Type: registration.CSIPlugin, Name: r.driver.name, Endpoint: r.driver.socket, SupportedVersions: []string{version},
	}, nil
}

func (r *registrar) NotifyRegistrationStatus(
	_ context.Context, s *registration.RegistrationStatus,
) (*registration.RegistrationStatusResponse, error) {
	if !s.PluginRegistered {
		log.Fatalf("the kubelet refuses the registration: %s", s.Error)
	}
	return &registration.RegistrationStatusResponse{}, nil
}

// ---- identity

func (d *driver) GetPluginInfo(context.Context, *csi.GetPluginInfoRequest) (*csi.GetPluginInfoResponse, error) {
	return &csi.GetPluginInfoResponse{Name: d.name, VendorVersion: version}, nil
}

func (d *driver) GetPluginCapabilities(
	context.Context, *csi.GetPluginCapabilitiesRequest,
) (*csi.GetPluginCapabilitiesResponse, error) {
	controller := &csi.PluginCapability_Service{Type: csi.PluginCapability_Service_CONTROLLER_SERVICE}
	expansion := &csi.PluginCapability_VolumeExpansion{Type: csi.PluginCapability_VolumeExpansion_ONLINE}
	return &csi.GetPluginCapabilitiesResponse{Capabilities: []*csi.PluginCapability{
		{Type: &csi.PluginCapability_Service_{Service: controller}},
		{Type: &csi.PluginCapability_VolumeExpansion_{VolumeExpansion: expansion}},
	}}, nil
}

func (d *driver) Probe(context.Context, *csi.ProbeRequest) (*csi.ProbeResponse, error) {
	return &csi.ProbeResponse{Ready: wrapperspb.Bool(true)}, nil
}

// ---- controller

func (d *driver) ControllerGetCapabilities(
	context.Context, *csi.ControllerGetCapabilitiesRequest,
) (*csi.ControllerGetCapabilitiesResponse, error) {
	response := &csi.ControllerGetCapabilitiesResponse{}
	for _, kind := range []csi.ControllerServiceCapability_RPC_Type{
		csi.ControllerServiceCapability_RPC_CREATE_DELETE_VOLUME,
		csi.ControllerServiceCapability_RPC_EXPAND_VOLUME,
	} {
		rpc := &csi.ControllerServiceCapability_Rpc{Rpc: &csi.ControllerServiceCapability_RPC{Type: kind}}
		response.Capabilities = append(response.Capabilities, &csi.ControllerServiceCapability{Type: rpc})
	}
	return response, nil
}

func (d *driver) CreateVolume(_ context.Context, r *csi.CreateVolumeRequest) (*csi.CreateVolumeResponse, error) {
	size := r.GetCapacityRange().GetRequiredBytes()
	if err := d.reserve(r.GetName(), size); err != nil {
		return nil, err
	}
	return &csi.CreateVolumeResponse{Volume: &csi.Volume{VolumeId: r.GetName(), CapacityBytes: size}}, nil
}

func (d *driver) DeleteVolume(_ context.Context, r *csi.DeleteVolumeRequest) (*csi.DeleteVolumeResponse, error) {
	d.lock.Lock()
	defer d.lock.Unlock()
	volume, err := d.volume(r.GetVolumeId())
	if err != nil {
		return nil, err
	}
	return &csi.DeleteVolumeResponse{}, os.RemoveAll(volume)
}

func (d *driver) ValidateVolumeCapabilities(
	_ context.Context, r *csi.ValidateVolumeCapabilitiesRequest,
) (*csi.ValidateVolumeCapabilitiesResponse, error) {
	confirmed := &csi.ValidateVolumeCapabilitiesResponse_Confirmed{VolumeCapabilities: r.GetVolumeCapabilities()}
	return &csi.ValidateVolumeCapabilitiesResponse{Confirmed: confirmed}, nil
}

func (d *driver) ControllerExpandVolume(
	_ context.Context, r *csi.ControllerExpandVolumeRequest,
) (*csi.ControllerExpandVolumeResponse, error) {
	size := r.GetCapacityRange().GetRequiredBytes()
	if err := d.reserve(r.GetVolumeId(), size); err != nil {
		return nil, err
	}
	return &csi.ControllerExpandVolumeResponse{CapacityBytes: size, NodeExpansionRequired: false}, nil
}

// reserve makes the volume, or lets it grow, if there is room for it.
func (d *driver) reserve(id string, size int64) error {
	d.lock.Lock()
	defer d.lock.Unlock()
	volume, err := d.volume(id)
	if err != nil {
		return err
	}
	claimed := size
	others, err := filepath.Glob(filepath.Join(d.root, "*", "size"))
	if err != nil {
		return err
	}
	for _, file := range others {
		if filepath.Dir(file) != volume {
			said, _ := os.ReadFile(file)
			bytes, _ := strconv.ParseInt(string(said), 10, 64)
			claimed += bytes
		}
	}
	if claimed > d.capacity {
		return status.Errorf(codes.ResourceExhausted, "no room for %d bytes: capacity is %d, of which %d are claimed",
			size, d.capacity, claimed-size)
	}
	data := filepath.Join(volume, "data")
	if err := os.MkdirAll(data, 0o755); err != nil {
		return err
	}
	if err := os.Chmod(data, 0o777); err != nil { // whoever the pod's user is
		return err
	}
	return os.WriteFile(filepath.Join(volume, "size"), []byte(strconv.FormatInt(size, 10)), 0o644)
}

func (d *driver) volume(id string) (string, error) {
	if id == "" || strings.ContainsAny(id, "/\\") || strings.HasPrefix(id, ".") {
		return "", status.Errorf(codes.InvalidArgument, "%q cannot be a volume's id", id)
	}
	return filepath.Join(d.root, id), nil
}

// ---- node

func (d *driver) NodeGetInfo(context.Context, *csi.NodeGetInfoRequest) (*csi.NodeGetInfoResponse, error) {
	return &csi.NodeGetInfoResponse{NodeId: d.node}, nil
}

func (d *driver) NodeGetCapabilities(
	context.Context, *csi.NodeGetCapabilitiesRequest,
) (*csi.NodeGetCapabilitiesResponse, error) {
	return &csi.NodeGetCapabilitiesResponse{}, nil
}

func (d *driver) NodePublishVolume(
	_ context.Context, r *csi.NodePublishVolumeRequest,
) (*csi.NodePublishVolumeResponse, error) {
	volume, err := d.volume(r.GetVolumeId())
	if err != nil {
		return nil, err
	}
	data, target := filepath.Join(volume, "data"), r.GetTargetPath()
	if _, err := os.Stat(data); err != nil {
		return nil, status.Errorf(codes.NotFound, "volume %s: %v", r.GetVolumeId(), err)
	}
	if mounted(data, target) {
		return &csi.NodePublishVolumeResponse{}, nil
	}
	if err := os.MkdirAll(target, 0o755); err != nil {
		return nil, err
	}
	if err := unix.Mount(data, target, "", unix.MS_BIND, ""); err != nil {
		return nil, status.Errorf(codes.Internal, "bind mount of %s at %s: %v", data, target, err)
	}
	if r.GetReadonly() {
		if err := unix.Mount("", target, "", unix.MS_REMOUNT|unix.MS_BIND|unix.MS_RDONLY, ""); err != nil {
			return nil, status.Errorf(codes.Internal, "read-only remount of %s: %v", target, err)
		}
	}
	return &csi.NodePublishVolumeResponse{}, nil
}

func (d *driver) NodeUnpublishVolume(
	_ context.Context, r *csi.NodeUnpublishVolumeRequest,
) (*csi.NodeUnpublishVolumeResponse, error) {
	target := r.GetTargetPath()
	// EINVAL: not mounted, ENOENT: not there: both are what is wanted.
	if err := unix.Unmount(target, 0); err != nil && err != unix.EINVAL && err != unix.ENOENT {
		return nil, status.Errorf(codes.Internal, "unmount of %s: %v", target, err)
	}
	if err := os.Remove(target); err != nil && !os.IsNotExist(err) {
		return nil, err
	}
	return &csi.NodeUnpublishVolumeResponse{}, nil
}

// mounted says whether the two paths are the same directory.
func mounted(data, target string) bool {
	a, errA := os.Stat(data)
	b, errB := os.Stat(target)
	return errA == nil && errB == nil && os.SameFile(a, b)
}
