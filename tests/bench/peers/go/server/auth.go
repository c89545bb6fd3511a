package main

import (
	"context"
	"crypto/ed25519"
	"crypto/x509"
	"encoding/base64"
	"encoding/json"
	"encoding/pem"
	"errors"
	"os"
	"strings"
	"sync"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"
)

const (
	issuer         = "identity.teppan"
	audience       = "teppan"
	skew           = 5 * time.Second
	verifiedCached = 10_000
	tokenBytesMax  = 8 * 1024

	roleViewer   = 1
	roleAgent    = 2
	supportsAll  = 1
	administers  = 2
	anyKey       = "" // a PEM file has no key ID
	bearerScheme = "bearer "
)

// claims is what a token says, once its signature was verified.
type claims struct {
	Issuer   string         `json:"iss"`
	Audience string         `json:"aud"`
	Subject  string         `json:"sub"`
	Issued   float64        `json:"iat"`
	Expiry   float64        `json:"exp"`
	Name     string         `json:"name"`
	Platform int            `json:"platform"`
	Roles    map[string]int `json:"roles"`
}

type verifier struct {
	keys     map[string]ed25519.PublicKey
	mutex    sync.RWMutex
	verified map[string]*claims
}

func newVerifier(file string) (*verifier, error) {
	content, err := os.ReadFile(file)
	if err != nil {
		return nil, err
	}
	keys, err := parseKeys(content)
	if err != nil {
		return nil, err
	}
	return &verifier{keys: keys, verified: map[string]*claims{}}, nil
}

func parseKeys(content []byte) (map[string]ed25519.PublicKey, error) {
	if block, _ := pem.Decode(content); block != nil {
		key, err := x509.ParsePKIXPublicKey(block.Bytes)
		if err != nil {
			return nil, err
		}
		public, ok := key.(ed25519.PublicKey)
		if !ok {
			return nil, errors.New("the key is not of Ed25519")
		}
		return map[string]ed25519.PublicKey{anyKey: public}, nil
	}
	var set struct {
		Keys []struct{ Kid, X string }
	}
	if err := json.Unmarshal(content, &set); err != nil {
		return nil, err
	}
	keys := map[string]ed25519.PublicKey{}
	for _, each := range set.Keys {
		x, err := base64.RawURLEncoding.DecodeString(each.X)
		if err != nil || len(x) != ed25519.PublicKeySize {
			return nil, errors.New("a key of the set is not of Ed25519")
		}
		keys[each.Kid] = x
	}
	return keys, nil
}

type callerKey struct{}

func (v *verifier) unary(ctx context.Context, req interface{}, _ *grpc.UnaryServerInfo, handler grpc.UnaryHandler) (interface{}, error) {
	caller, err := v.caller(ctx)
	if err != nil {
		return nil, err
	}
	return handler(context.WithValue(ctx, callerKey{}, caller), req)
}

type callersStream struct {
	grpc.ServerStream
	ctx context.Context
}

func (s callersStream) Context() context.Context { return s.ctx }

func (v *verifier) stream(srv interface{}, stream grpc.ServerStream, _ *grpc.StreamServerInfo, handler grpc.StreamHandler) error {
	caller, err := v.caller(stream.Context())
	if err != nil {
		return err
	}
	return handler(srv, callersStream{stream, context.WithValue(stream.Context(), callerKey{}, caller)})
}

func (v *verifier) caller(ctx context.Context) (*claims, error) {
	incoming, _ := metadata.FromIncomingContext(ctx)
	found := incoming.Get("authorization")
	if len(found) == 0 {
		return nil, status.Error(codes.Unauthenticated, "the call has no token")
	}
	if len(found[0]) > tokenBytesMax || len(found[0]) < len(bearerScheme) || !strings.EqualFold(found[0][:len(bearerScheme)], bearerScheme) {
		return nil, status.Error(codes.Unauthenticated, "the authorization is not `Bearer <token>`")
	}
	token := found[0][len(bearerScheme):]
	v.mutex.RLock()
	known := v.verified[token]
	v.mutex.RUnlock()
	if known == nil {
		var err error
		if known, err = v.verify(token); err != nil {
			return nil, status.Errorf(codes.Unauthenticated, "the token is not valid: %v", err)
		}
		v.keep(token, known)
	}
	if float64(time.Now().Unix()) > known.Expiry+skew.Seconds() {
		return nil, status.Error(codes.Unauthenticated, "the token has expired")
	}
	return known, nil
}

func (v *verifier) keep(token string, known *claims) {
	v.mutex.Lock()
	defer v.mutex.Unlock()
	if len(v.verified) >= verifiedCached {
		v.verified = map[string]*claims{}
	}
	v.verified[token] = known
}

func (v *verifier) verify(token string) (*claims, error) {
	parts := strings.Split(token, ".")
	if len(parts) != 3 {
		return nil, errors.New("it has not three parts")
	}
	var header struct{ Alg, Kid string }
	if err := decode(parts[0], &header); err != nil {
		return nil, err
	}
	key, ok := v.keys[header.Kid]
	if !ok {
		key, ok = v.keys[anyKey]
	}
	if !ok || header.Alg != "EdDSA" {
		return nil, errors.New("its key is not known")
	}
	signature, err := base64.RawURLEncoding.DecodeString(parts[2])
	if err != nil {
		return nil, err
	}
	if !ed25519.Verify(key, []byte(parts[0]+"."+parts[1]), signature) {
		return nil, errors.New("its signature is wrong")
	}
	said := &claims{}
	if err := decode(parts[1], said); err != nil {
		return nil, err
	}
	if said.Issuer != issuer || said.Audience != audience || said.Subject == "" || said.Expiry == 0 || said.Issued == 0 {
		return nil, errors.New("its claims are not those of a user")
	}
	return said, nil
}

func decode(part string, into interface{}) error {
	content, err := base64.RawURLEncoding.DecodeString(part)
	if err != nil {
		return err
	}
	return json.Unmarshal(content, into)
}

// permit answers the caller, or an error where their role in the station is not enough. Without checks there is no caller.
func (s *server) permit(ctx context.Context, station id, role int, reads bool) (*claims, error) {
	if !s.checked {
		return &claims{Name: "Bench"}, nil
	}
	caller, ok := ctx.Value(callerKey{}).(*claims)
	if !ok {
		return nil, status.Error(codes.Unauthenticated, "the call has no token")
	}
	platform := caller.Platform == administers || (reads && caller.Platform == supportsAll)
	if !platform && caller.Roles[station.String()] < role {
		return nil, status.Error(codes.PermissionDenied, "the role is not enough, or there is no such station")
	}
	return caller, nil
}
